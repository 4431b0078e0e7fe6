// A captured step: the graph over one or several devices and, for each, the words that its kernels
// read when they run. The binding keeps them by number; captures by several threads go through
// graph/group_capture.h.
//
// A run: write() the words of every device, on its compute stream, then launch the graph behind
// them. Runs of one graph and their words are ordered by the compute streams.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "fabric/graph.h"
#include "graph/live_words.h"

namespace weft {

class StepGraph {
 public:
  /// Begins a capture on the compute streams of `devices`.
  explicit StepGraph(std::vector<Device*> devices);
  ~StepGraph();  ///< an open capture is dropped; a graph waits for its last run
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;

  /// Ends the capture. Throws what fabric::Capture::end() throws; the step is of no use then.
  void end();
  /// Optimizer calls that device `slot` (its place in the list) made in the capture.
  size_t calls(size_t slot) const { return words_[slot]->calls(); }
  /// Enqueues what the next run reads on device `slot`; see LiveWords::write.
  void write(size_t slot, std::span<const double> rates);
  /// Enqueues one run after everything on the compute streams so far.
  void launch();
  size_t size() const { return devices_.size(); }
  const std::shared_ptr<fabric::Graph>& graph() const { return graph_; }

 private:
  void require_graph() const;

  std::vector<Device*> devices_;
  std::vector<std::unique_ptr<LiveWords>> words_;  // outlive the graph that reads them
  std::unique_ptr<fabric::Capture> capture_;
  std::shared_ptr<fabric::Graph> graph_;
};

}  // namespace weft
