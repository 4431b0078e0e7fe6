// Links between devices and the ring through them. Groups ask at creation, the ring algorithm for
// its order, snapshots for the table. Reads the drivers, enables nothing.
#include "topology/topology.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <tuple>

#include "fabric/ring_rank.h"
#include "topology/cliques.h"
#include "topology/probe_table.h"

namespace fabric {
namespace {

using Matrix = std::vector<std::vector<double>>;

constexpr double kPeerBonus = 1e6;    // more than any GB/s, so that peer links always come first
constexpr double kReached = 0.8;      // of the nominal GB/s, until a pair was measured
constexpr double kCliqueShare = 0.4;  // a single link beside double ones, and room for noise
constexpr double kNever = -std::numeric_limits<double>::infinity();

// Largest sum of a path that starts at `at`, visits all not in `seen` and returns to 0, using links
// of at least `floor`. Memoised by (seen, at): 2^n * n entries.
class ExactRing {
 public:
  explicit ExactRing(const Matrix& weight) : weight_(weight), n_(static_cast<int>(weight.size())) {}

  std::vector<int> solve() {
    std::vector<double> levels;
    for (int i = 0; i < n_; ++i) {
      for (int j = 0; j < n_; ++j) {
        if (i != j) levels.push_back(weight_[i][j]);
      }
    }
    std::sort(levels.begin(), levels.end());
    levels.erase(std::unique(levels.begin(), levels.end()), levels.end());
    size_t low = 0, high = levels.size() - 1;  // levels[low] always has a cycle
    while (low < high) {
      size_t middle = (low + high + 1) / 2;
      if (fill(levels[middle]) == kNever) {
        high = middle - 1;
      } else {
        low = middle;
      }
    }
    fill(levels[low]);
    return read_order();
  }

 private:
  double& best(uint32_t seen, int at) { return best_[static_cast<size_t>(seen) * n_ + at]; }
  double usable(int from, int to) const {
    return weight_[from][to] >= floor_ ? weight_[from][to] : kNever;
  }

  double fill(double floor) {
    floor_ = floor;
    const uint32_t all = (1u << n_) - 1;
    best_.assign((static_cast<size_t>(all) + 1) * n_, kNever);
    for (int at = 1; at < n_; ++at) best(all, at) = usable(at, 0);
    for (uint32_t seen = all; seen-- > 1;) {
      if ((seen & 1u) == 0) continue;
      for (int at = 0; at < n_; ++at) {
        if ((seen >> at & 1u) == 0) continue;
        double top = kNever;
        for (int to = 1; to < n_; ++to) {
          if (seen >> to & 1u) continue;
          top = std::max(top, usable(at, to) + best(seen | 1u << to, to));
        }
        best(seen, at) = top;
      }
    }
    return best(1, 0);
  }

  // Follows the best sums; among equals the lowest next member, so equal links give 0, 1, 2, ...
  std::vector<int> read_order() {
    std::vector<int> order{0};
    uint32_t seen = 1;
    while (static_cast<int>(order.size()) < n_) {
      int at = order.back(), next = -1;
      double top = kNever;
      for (int to = 1; to < n_; ++to) {
        if (seen >> to & 1u) continue;
        double value = usable(at, to) + best(seen | 1u << to, to);
        if (next < 0 || value > top) {
          top = value;
          next = to;
        }
      }
      order.push_back(next);
      seen |= 1u << next;
    }
    return order;
  }

  const Matrix& weight_;
  int n_;
  double floor_ = 0;
  std::vector<double> best_;
};

std::vector<int> greedy_ring(const Matrix& weight) {
  const int n = static_cast<int>(weight.size());
  std::vector<int> order{0};
  std::vector<bool> used(n, false);
  used[0] = true;
  while (static_cast<int>(order.size()) < n) {
    int next = -1;
    for (int to = 0; to < n; ++to) {
      if (!used[to] && (next < 0 || weight[order.back()][to] > weight[order.back()][next]))
        next = to;
    }
    order.push_back(next);
    used[next] = true;
  }
  auto score = [&](const std::vector<int>& ring) {
    double worst = std::numeric_limits<double>::infinity(), sum = 0;
    for (int i = 0; i < n; ++i) {
      double w = weight[ring[i]][ring[(i + 1) % n]];
      worst = std::min(worst, w);
      sum += w;
    }
    return std::pair(worst, sum);
  };
  auto current = score(order);
  for (bool improved = true; improved;) {  // ends: every round raises the score
    improved = false;
    for (int i = 1; i < n - 1; ++i) {
      for (int j = i + 1; j < n; ++j) {
        std::reverse(order.begin() + i, order.begin() + j + 1);
        auto candidate = score(order);
        if (candidate > current) {
          current = candidate;
          improved = true;
        } else {
          std::reverse(order.begin() + i, order.begin() + j + 1);
        }
      }
    }
  }
  return order;
}

// What the driver tells of a pair, asked once: wires stay as they are, and snapshots come often.
const LinkInfo& pair_info(Driver& driver, int from, int to) {
  static std::mutex mutex;
  static auto* known = new std::map<std::tuple<Driver*, int, int>, LinkInfo>;
  std::lock_guard lock(mutex);
  const std::tuple pair(&driver, from, to);
  auto found = known->find(pair);
  if (found == known->end()) found = known->emplace(pair, driver.link(from, to)).first;
  return found->second;  // map nodes stay where they are
}

Link describe_link(Device& from, Device& to) {
  Link link{from.index(), to.index(), "staged", false, 0};
  if (&from.driver() != &to.driver()) return link;
  Driver& driver = from.driver();
  if (from.ordinal() == to.ordinal()) {
    link.kind = "self";  // virtual devices of one physical device
    link.peer_access = true;
    link.gbps = driver.measured_gbps(from.ordinal(), to.ordinal());
    return link;
  }
  link.probe = probe_table::find(driver, from.ordinal(), to.ordinal());
  link.peer_access =
      driver.can_access_peer(from.ordinal(), to.ordinal()) && (!link.probe || link.probe->usable());
  const double probed = link.probe && link.peer_access ? link.probe->copy.gbps : 0;
  link.gbps = probed > 0 ? probed : driver.measured_gbps(from.ordinal(), to.ordinal());
  if (!link.peer_access) return link;
  const LinkInfo& info = pair_info(driver, from.ordinal(), to.ordinal());
  link.kind = info.kind;
  link.lanes = info.lanes;
  link.nominal_gbps = info.nominal_gbps;
  link.through = info.through;
  link.native_atomics = info.native_atomics;
  link.performance_rank = info.performance_rank;
  return link;
}

std::atomic<bool> g_measured_rings{true};

}  // namespace

void rank_rings_by_measure(bool on) { g_measured_rings.store(on, std::memory_order_relaxed); }

double link_weight(const Link& link, bool measured) {
  const bool use = measured && link.gbps > 0;
  const double gbps = use ? link.gbps : kReached * link.nominal_gbps;
  return gbps + (link.peer_access ? kPeerBonus : 0.0);
}

double clique_floor(const Matrix& weight) {
  double strongest = 0;
  for (size_t i = 0; i < weight.size(); ++i) {
    for (size_t j = 0; j < weight.size(); ++j) {
      if (i != j) strongest = std::max(strongest, weight[i][j]);
    }
  }
  if (strongest < kPeerBonus) return std::numeric_limits<double>::infinity();
  return kPeerBonus + kCliqueShare * (strongest - kPeerBonus);
}

std::vector<int> best_ring(const Matrix& weight) {
  const int n = static_cast<int>(weight.size());
  if (n <= 2) {
    std::vector<int> order;
    for (int i = 0; i < n; ++i) order.push_back(i);
    return order;
  }
  return n <= kExactRing ? ExactRing(weight).solve() : greedy_ring(weight);
}

std::vector<Link> topology(const std::vector<Device*>& devices) {
  std::vector<Link> links;
  for (Device* from : devices) {
    for (Device* to : devices) {
      if (from != to) links.push_back(describe_link(*from, *to));
    }
  }
  return links;
}

namespace {

Matrix weights(const std::vector<Device*>& devices) {
  const size_t n = devices.size();
  Matrix weight(n, std::vector<double>(n, 0.0));
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      if (i == j) continue;
      const Link link = describe_link(*devices[i], *devices[j]);
      weight[i][j] = link_weight(link, g_measured_rings.load(std::memory_order_relaxed));
    }
  }
  return weight;
}

}  // namespace

std::vector<int> ring_order(const std::vector<Device*>& devices) {
  return best_ring(weights(devices));
}

std::vector<std::vector<int>> peer_cliques(const std::vector<Device*>& devices) {
  const Matrix weight = weights(devices);
  return cliques(weight, clique_floor(weight));
}

const std::vector<int>& cached_ring_order(const std::vector<Device*>& devices) {
  static std::mutex mutex;
  static auto* orders = new std::map<std::vector<Device*>, std::vector<int>>;
  std::lock_guard lock(mutex);
  auto found = orders->find(devices);
  if (found == orders->end()) found = orders->emplace(devices, ring_order(devices)).first;
  return found->second;  // map nodes stay where they are
}

}  // namespace fabric
