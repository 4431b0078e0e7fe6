// Sets of devices in which each reaches each well, as a pure function over a matrix. topology.cc
// calls it for peer_cliques(); the tests call it with the matrices of machines.
#pragma once

#include <vector>

namespace fabric {

/// Divides 0..n-1 in sets within which weight[i][j] is at least `floor` for every ordered pair: the
/// largest such set first, of equals the one that comes first in dictionary order, then the same
/// over the rest. A member without a partner is a set of its own. Exact up to kExactCliques
/// members; beyond that each set grows from its lowest member.
std::vector<std::vector<int>> cliques(const std::vector<std::vector<double>>& weight, double floor);
inline constexpr int kExactCliques = 16;

}  // namespace fabric
