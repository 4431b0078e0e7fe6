// Machines as matrices of GB/s in one direction, for tests of pure functions over them. Rates of a
// link: NVLink 2 25, NVLink 4 through switches 478 nominal, PCIe 3 x16 12. The wiring of the DGX-1 is
// the published one, in links a pair.
#pragma once

#include <vector>

#include "fabric/fabric.h"
#include "topology/topology.h"

namespace fabric::test {

using Matrix = std::vector<std::vector<double>>;

/// What ring_order() and peer_cliques() make of a pair: peer links first, then nominal GB/s.
inline double peer(const char* kind, double gbps) {
  Link link{0, 1, kind, true};
  link.nominal_gbps = gbps;
  return link_weight(link);
}
inline double staged(double gbps) { return link_weight(Link{0, 1, "staged", false, gbps}); }

inline Matrix nvswitch(int gpus) {
  const auto n = static_cast<size_t>(gpus);
  return Matrix(n, std::vector<double>(n, peer("nvlink", 478)));
}

/// Eight GPUs, two boards of four: a cube mesh with one or two links an edge, else through the host.
inline Matrix dgx1() {
  static constexpr int kLinks[8][8] = {{0, 1, 1, 2, 2, 0, 0, 0}, {1, 0, 2, 1, 0, 2, 0, 0},
                                       {1, 2, 0, 2, 0, 0, 1, 0}, {2, 1, 2, 0, 0, 0, 0, 1},
                                       {2, 0, 0, 0, 0, 1, 1, 2}, {0, 2, 0, 0, 1, 0, 2, 1},
                                       {0, 0, 1, 0, 1, 2, 0, 2}, {0, 0, 0, 1, 2, 1, 2, 0}};
  Matrix weight(8, std::vector<double>(8, staged(6)));
  for (size_t i = 0; i < 8; ++i) {
    for (size_t j = 0; j < 8; ++j) {
      if (kLinks[i][j] > 0) weight[i][j] = peer("nvlink", 25.0 * kLinks[i][j]);
    }
  }
  return weight;
}

/// Two islands of four GPUs, the even and the odd ones, each behind a PCIe switch of its own.
inline Matrix pcie_islands() {
  Matrix weight(8, std::vector<double>(8, staged(6)));
  for (size_t i = 0; i < 8; ++i) {
    for (size_t j = 0; j < 8; ++j) {
      if (i % 2 == j % 2) weight[i][j] = peer("pcie", 15.8);
    }
  }
  return weight;
}

/// Four devices of which the third is a MIG slice: nobody reaches its memory, it reaches nobody's.
inline Matrix mig_slice() {
  Matrix weight = nvswitch(4);
  for (size_t i = 0; i < 4; ++i) weight[i][2] = weight[2][i] = staged(20);
  return weight;
}

/// Eight GPUs with NVSwitch whose way from 1 to 2 lost its test and is staged; 2 to 1 still works.
inline Matrix one_way_lies() {
  Matrix weight = nvswitch(8);
  weight[1][2] = staged(20);
  return weight;
}

}  // namespace fabric::test
