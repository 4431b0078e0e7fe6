// See cuda/capture_edges.h.
#include "cuda/capture_edges.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "fabric/cuda_launch.h"

namespace fabric::cuda {
namespace {

constexpr size_t kMostVisited = 64;

bool full(const cudaGraphEdgeData& edge) {
  return edge.from_port == 0 && edge.to_port == 0 && edge.type == 0;
}

/// What `node` comes after, by full edges.
std::vector<cudaGraphNode_t> before(cudaGraphNode_t node) {
  size_t count = 0;
  check(cudaGraphNodeGetDependencies(node, nullptr, nullptr, &count),
        "cudaGraphNodeGetDependencies");
  std::vector<cudaGraphNode_t> nodes(count);
  std::vector<cudaGraphEdgeData> edges(count);
  if (count == 0) return nodes;
  check(cudaGraphNodeGetDependencies(node, nodes.data(), edges.data(), &count),
        "cudaGraphNodeGetDependencies");
  size_t kept = 0;
  for (size_t i = 0; i < count; ++i) {
    if (full(edges[i])) nodes[kept++] = nodes[i];
  }
  nodes.resize(kept);
  return nodes;
}

}  // namespace

void drop_implied_dependencies(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  const cudaGraphNode_t* nodes = nullptr;
  const cudaGraphEdgeData* data = nullptr;
  size_t count = 0;
  check(cudaStreamGetCaptureInfo(stream, &status, nullptr, nullptr, &nodes, &data, &count),
        "cudaStreamGetCaptureInfo");
  if (status != cudaStreamCaptureStatusActive || count < 2) return;
  std::vector<cudaGraphNode_t> left(nodes, nodes + count);
  std::vector<cudaGraphEdgeData> edges(count);
  if (data != nullptr) edges.assign(data, data + count);

  // The latest came last: they are likely to be behind the others.
  std::vector<cudaGraphNode_t> visited;
  std::vector<cudaGraphNode_t> implied;
  for (size_t i = count; i-- > 0;) {
    if (full(edges[i])) visited.push_back(left[i]);
  }
  for (size_t at = 0; at < visited.size() && at < kMostVisited; ++at) {
    for (cudaGraphNode_t node : before(visited[at])) {
      if (std::ranges::find(left, node) != left.end()) implied.push_back(node);
      if (std::ranges::find(visited, node) == visited.end()) visited.push_back(node);
    }
  }
  if (implied.empty()) return;
  size_t kept = 0;
  for (size_t i = 0; i < count; ++i) {
    if (std::ranges::find(implied, left[i]) != implied.end()) continue;
    left[kept] = left[i];
    edges[kept++] = edges[i];
  }
  check(cudaStreamUpdateCaptureDependencies(stream, left.data(), edges.data(), kept,
                                            cudaStreamSetCaptureDependencies),
        "cudaStreamUpdateCaptureDependencies");
}

}  // namespace fabric::cuda
