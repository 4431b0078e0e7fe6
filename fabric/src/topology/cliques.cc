// See topology/cliques.h. Members are bits of a mask. The exact search takes every member in turn or
// leaves it out and gives up a branch that cannot beat the best set: at most 2^16 branches.
#include "topology/cliques.h"

#include <bit>
#include <cstddef>
#include <cstdint>

namespace fabric {
namespace {

using Matrix = std::vector<std::vector<double>>;

class LargestClique {
 public:
  explicit LargestClique(const std::vector<uint32_t>& partners) : partners_(partners) {}
  uint32_t among(uint32_t left) {
    best_ = 0;
    grow(0, left);
    return best_;
  }

 private:
  // Tries to take the lowest member first, so that the first of the largest sets is also the first
  // in dictionary order.
  void grow(uint32_t taken, uint32_t left) {
    if (std::popcount(taken) + std::popcount(left) <= std::popcount(best_)) return;
    if (left == 0) {
      best_ = taken;
      return;
    }
    const uint32_t lowest = left & -left;
    grow(taken | lowest, left & partners_[static_cast<size_t>(std::countr_zero(left))]);
    grow(taken, left & ~lowest);
  }

  const std::vector<uint32_t>& partners_;
  uint32_t best_ = 0;
};

bool joined(const Matrix& weight, double floor, int a, int b) {
  const auto i = static_cast<size_t>(a), j = static_cast<size_t>(b);
  return weight[i][j] >= floor && weight[j][i] >= floor;
}

std::vector<std::vector<int>> exact(const Matrix& weight, double floor, int n) {
  std::vector<uint32_t> partners(static_cast<size_t>(n), 0);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      if (i != j && joined(weight, floor, i, j)) partners[static_cast<size_t>(i)] |= 1u << j;
    }
  }
  std::vector<std::vector<int>> sets;
  LargestClique largest(partners);
  for (uint32_t left = (1u << n) - 1; left != 0;) {
    const uint32_t set = largest.among(left);
    sets.emplace_back();
    for (int i = 0; i < n; ++i) {
      if (set >> i & 1u) sets.back().push_back(i);
    }
    left &= ~set;
  }
  return sets;
}

std::vector<std::vector<int>> grown(const Matrix& weight, double floor, int n) {
  std::vector<std::vector<int>> sets;
  std::vector<bool> used(static_cast<size_t>(n), false);
  for (int first = 0; first < n; ++first) {
    if (used[static_cast<size_t>(first)]) continue;
    std::vector<int> set{first};
    for (int next = first + 1; next < n; ++next) {
      bool fits = !used[static_cast<size_t>(next)];
      for (int member : set) fits = fits && joined(weight, floor, member, next);
      if (fits) set.push_back(next);
    }
    for (int member : set) used[static_cast<size_t>(member)] = true;
    sets.push_back(std::move(set));
  }
  return sets;
}

}  // namespace

std::vector<std::vector<int>> cliques(const Matrix& weight, double floor) {
  const int n = static_cast<int>(weight.size());
  return n <= kExactCliques ? exact(weight, floor, n) : grown(weight, floor, n);
}

}  // namespace fabric
