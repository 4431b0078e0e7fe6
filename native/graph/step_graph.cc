// See step_graph.h.
#include "graph/step_graph.h"

#include "core/late_write.h"

namespace weft {

StepGraph::StepGraph(std::vector<Device*> devices) : devices_(std::move(devices)) {
  std::vector<Stream*> streams;
  for (Device* device : devices_) {
    fabric::require_eager(*device, "another capture");
    words_.push_back(std::make_unique<LiveWords>(*device));
    order_late_writes(device->compute());  // none can be waited for inside the capture
    streams.push_back(&device->compute());
  }
  capture_ = fabric::Capture::begin(std::move(streams));
  for (auto& words : words_) words->start();
}

StepGraph::~StepGraph() {
  for (auto& words : words_) words->stop();
  capture_.reset();
  graph_.reset();
}

void StepGraph::end() {
  if (!capture_) fail(ErrorCode::kUsage, "the capture has ended");
  for (auto& words : words_) words->stop();
  auto capture = std::move(capture_);
  graph_ = capture->end();
}

void StepGraph::require_graph() const {
  if (!graph_) fail(ErrorCode::kUsage, "the step is not captured: end the capture first");
}

void StepGraph::write(size_t slot, std::span<const double> rates) {
  require_graph();
  fabric::require_eager(*devices_[slot], "launching a graph");
  order_late_writes(devices_[slot]->compute());
  words_[slot]->write(rates, devices_[slot]->compute());
}

void StepGraph::launch() {
  require_graph();
  std::vector<Stream*> streams;
  for (Device* device : devices_) streams.push_back(&device->compute());
  graph_->launch(streams);
}

}  // namespace weft
