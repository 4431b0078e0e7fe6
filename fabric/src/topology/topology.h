// Ring order and weights of links as pure functions, so that any machine can be tested on none.
// topology/topology.cc calls it for ring_order(); the tests call it with matrices of their own.
#pragma once

#include <vector>

#include "fabric/fabric.h"

namespace fabric {

/// weight[i][j] says how good the link from i to j is; higher is better. Returns the cycle through
/// all of 0..n-1, starting at 0, whose worst link is best, then whose sum is largest, then that
/// comes first in dictionary order. Exact up to kExactRing members, beyond that greedy with 2-opt.
std::vector<int> best_ring(const std::vector<std::vector<double>>& weight);
inline constexpr int kExactRing = 12;

/// The weight of a link: any peer link beats any staged one, then measured GB/s decide, or where
/// nothing was measured yet a part of the nominal ones. `measured` false: the nominal ones alone.
double link_weight(const Link& link, bool measured = true);

/// The weight from which a link joins a clique: a peer link of at least 40 % of the strongest one's
/// rate. Infinite where the matrix holds no peer link.
double clique_floor(const std::vector<std::vector<double>>& weight);

/// ring_order(devices), remembered for each list of devices. Algorithms ask on every call.
const std::vector<int>& cached_ring_order(const std::vector<Device*>& devices);

}  // namespace fabric
