// Captures on a GPU, without Node: whose memory their streams take, what frees, staging buffers and
// notifications beside them do, and the order of a graph that holds a collective. build_check.sh
// builds it.
//   capture_check [device = cuda:0] [second GPU, for the test of a pair that memory is short for]
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <cuda_runtime.h>

#include "cuda/capture_edges.h"
#include "fabric/algorithm.h"
#include "fabric/allocator.h"
#include "fabric/fabric.h"
#include "fabric/graph.h"
#include "fabric/group.h"

namespace {

using namespace fabric;

constexpr size_t kMiB = size_t{1} << 20;
constexpr int64_t kWaitMs = 30'000;

int failures = 0;
void check(const char* what, bool good) {
  std::printf("%-66s %s\n", what, good ? "ok" : "FAIL");
  std::fflush(stdout);
  failures += good ? 0 : 1;
}

bool done(Stream& stream) {
  return stream.device().driver().synchronize_stream(stream.handle(), kWaitMs);
}

void fill(Block* block, int byte, Stream& stream) {
  stream.device().driver().fill(block->ptr, stream.device().ordinal(), byte, block->bytes,
                                stream.handle());
}

unsigned char first_byte(const void* ptr, Stream& stream) {
  Device& device = stream.device();
  StagingBuffer buffer = acquire_staging(device.driver(), 1);
  device.driver().copy(buffer.ptr, kHostMemory, ptr, device.ordinal(), 1, stream.handle());
  done(stream);
  const unsigned char value = *static_cast<unsigned char*>(buffer.ptr);
  release_staging(buffer, nullptr);
  return value;
}

ErrorCode code_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::kNone;
}

void check_memory(Device& device) {
  Stream& main = device.compute();
  Stream& side = device.create_stream();
  Allocator& allocator = device.allocator();
  auto capture = Capture::begin({&main});
  order_after(side, main);
  Block* inside = allocator.allocate(4096, side);
  fill(inside, 0x11, side);
  order_after(main, side);
  allocator.free(inside);
  auto graph = capture->end();
  Block* eager = allocator.allocate(4096, side);
  fill(eager, 0x77, side);
  done(side);
  Stream* streams[] = {&main};
  graph->launch(streams);
  done(main);
  check("a replay leaves eager memory of a stream that joined alone",
        first_byte(eager->ptr, side) == 0x77);
  allocator.free(eager);
}

void check_staging(Device& device) {
  Stream& main = device.compute();
  Block* source = device.allocator().allocate(kMiB, main);
  fill(source, 0x42, main);
  done(main);
  auto capture = Capture::begin({&main});
  StagingBuffer buffer = acquire_staging(device.driver(), kMiB);
  auto* bytes = static_cast<volatile unsigned char*>(buffer.ptr);
  device.driver().copy(buffer.ptr, kHostMemory, source->ptr, device.ordinal(), kMiB, main.handle());
  release_staging(buffer, &main);
  std::shared_ptr<Graph> graph;
  check("a staging buffer released in a capture leaves it whole",
        code_of([&] { graph = capture->end(); }) == ErrorCode::kNone);
  if (graph == nullptr) return;
  bytes[0] = 0;
  Stream* streams[] = {&main};
  graph->launch(streams);
  done(main);
  check("and is filled by the replay", bytes[0] == 0x42);
  device.allocator().free(source);
  graph.reset();
  check("no host memory is an OutOfMemoryError", code_of([&] {
          acquire_staging(device.driver(), size_t{1} << 46);
        }) == ErrorCode::kOutOfMemory);
}

// Between drivers a payload goes in pieces: two are pinned, whatever its size.
void check_pieces(Device& device) {
  Device& host = open_device("host:0");
  if (&host.driver() == &device.driver()) return;
  constexpr size_t kBytes = 300 * kMiB + 12345;
  Block* from = host.allocator().allocate(kBytes, host.compute());
  Block* there = device.allocator().allocate(kBytes, device.compute());
  Block* back = host.allocator().allocate(kBytes, host.compute());
  auto* sent = static_cast<unsigned char*>(from->ptr);
  auto* got = static_cast<unsigned char*>(back->ptr);
  for (size_t i = 0; i < kBytes; ++i) sent[i] = static_cast<unsigned char>(i * 31 + i / 65521);
  for (size_t i = 0; i < kBytes; ++i) got[i] = 0;
  const uint64_t before = staging_bytes();
  transfer(there->ptr, device.compute(), from->ptr, host.compute(), kBytes);
  transfer(back->ptr, host.compute(), there->ptr, device.compute(), kBytes);
  const uint64_t pinned = staging_bytes() - before;
  done(host.compute());
  std::printf("%zu MiB there and back: %llu MiB of staging\n", kBytes / kMiB,
              static_cast<unsigned long long>(pinned / kMiB));
  check("a large copy between drivers pins a bounded part", pinned <= 4 * 32 * kMiB);
  check("and all bytes arrive", std::equal(sent, sent + kBytes, got));
  for (Block* block : {from, back}) host.allocator().free(block);
  device.allocator().free(there);
}

void check_races(Device& device) {
  Stream& captured = device.create_stream();
  Allocator& allocator = device.allocator();
  {
    auto capture = Capture::begin({&captured});
    check("a captured stream refuses to notify", code_of([&] {
            device.driver().notify(captured.handle(), [] {});
          }) == ErrorCode::kUsage);
    check("and the capture is whole afterwards",
          code_of([&] { capture->end(); }) == ErrorCode::kNone);
  }
  std::atomic<bool> stop{false};
  std::atomic<int> captures{0}, broken{0}, called{0};
  std::thread capturing([&] {
    while (!stop) {
      auto capture = Capture::begin({&captured});
      if (code_of([&] { capture->end(); }) != ErrorCode::kNone) ++broken;
      ++captures;
    }
  });
  int notified = 0;
  for (int i = 0; i < 5000; ++i) {
    Block* block = allocator.allocate(4096, device.compute());
    allocator.record_use(block, captured);
    allocator.free(block);
    const ErrorCode code =
        code_of([&] { device.driver().notify(captured.handle(), [&called] { ++called; }); });
    if (code == ErrorCode::kNone) ++notified;
  }
  stop = true;
  capturing.join();
  allocator.process_events();
  done(captured);
  done(device.compute());
  allocator.process_events();
  const auto limit = std::chrono::steady_clock::now() + std::chrono::milliseconds(kWaitMs);
  while (called != notified && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
  std::printf("%d captures beside 5000 frees and %d notifications\n", captures.load(), notified);
  check("frees and notifications break no capture", broken == 0);
  check("all frees pass", allocator.stats().pending_bytes == 0);
  check("all notifications come", called == notified);
  check("nothing is poisoned", !poisoned());
}

// Two ranks that share one inbox each, as kernels with a fixed workspace do. A graph's call that ran
// beside an eager one would write the inbox before it was read.
std::vector<Block*> g_inbox;
void enqueue_shared_inbox(std::span<CollectiveArgs> args, std::span<Device* const> devices) {
  const size_t bytes = args[0].count * sizeof(float);
  auto meet = [&] {
    for (int r = 0; r < 2; ++r) order_after(devices[r]->comm(), devices[1 - r]->comm());
  };
  meet();
  for (int r = 0; r < 2; ++r) {
    devices[r]->driver().copy(g_inbox[static_cast<size_t>(1 - r)]->ptr, devices[1 - r]->ordinal(),
                              args[r].in, devices[r]->ordinal(), bytes,
                              devices[r]->comm().handle());
  }
  meet();
  for (size_t r = 0; r < 2; ++r) {
    devices[r]->driver().combine(args[r].out, args[r].in, g_inbox[r]->ptr, args[r].count,
                                 DType::kF32, ReduceOp::kSum, 1.0, devices[r]->ordinal(),
                                 devices[r]->comm().handle());
  }
  meet();
}

class SharedInboxCall final : public PreparedCall {
 public:
  explicit SharedInboxCall(const CollectiveCall& call) : call_(call) {}
  void enqueue() override { enqueue_shared_inbox(call_.args, call_.devices); }

 private:
  const CollectiveCall call_;
};

std::unique_ptr<PreparedCall> prepare_shared_inbox(const CollectiveCall& call) {
  return std::make_unique<SharedInboxCall>(call);
}

void check_order(const std::string& name) {
  std::vector<Device*> devices{&open_device(name + "/0", 2), &open_device(name + "/1", 2)};
  auto group = Group::create(devices);
  register_algorithm({"check-shared-inbox", true,
                      [](const CallShape& call) {
                        return call.kind == CollectiveKind::kAllReduce;
                      },
                      &prepare_shared_inbox});
  force_algorithm("check-shared-inbox");
  constexpr size_t kCount = 16 << 20;
  std::vector<Block*> eager, graphed;
  for (Device* device : devices) {
    Stream& stream = device->compute();
    g_inbox.push_back(device->allocator().allocate(kCount * sizeof(float), stream));
    eager.push_back(device->allocator().allocate(kCount * sizeof(float), stream));
    graphed.push_back(device->allocator().allocate(kCount * sizeof(float), stream));
    fill(eager.back(), 0x3f, stream);    // 0.747..., summed exactly twice over
    fill(graphed.back(), 0x00, stream);  // stays zero, whatever is summed
  }
  for (Device* device : devices) done(device->compute());
  auto args_of = [&](const std::vector<Block*>& blocks) {
    std::vector<CollectiveArgs> args(2);
    for (size_t r = 0; r < 2; ++r) {
      args[r].count = kCount;
      args[r].in = args[r].out = blocks[r]->ptr;
      args[r].stream = &devices[r]->compute();
    }
    return args;
  };
  auto capture = Capture::begin({&devices[0]->compute(), &devices[1]->compute()});
  auto args = args_of(graphed);
  auto works = group->submit_all(args);
  for (size_t r = 0; r < 2; ++r) {
    works[r]->wait_launched();
    works[r]->stream_wait(devices[r]->compute());
  }
  auto graph = capture->end();
  Stream* streams[] = {&devices[0]->compute(), &devices[1]->compute()};
  for (int i = 0; i < 40; ++i) {
    graph->launch(streams);
    args = args_of(eager);
    for (auto& work : group->submit_all(args)) work->wait_launched();
  }
  for (Device* device : devices) {
    done(device->compute());
    done(device->comm());
  }
  // 0x3f3f3f3f doubled 40 times adds 40 to the exponent: byte 3 becomes 0x53.
  bool zero = true, doubled = true;
  for (size_t r = 0; r < 2; ++r) {
    auto* last = static_cast<unsigned char*>(eager[r]->ptr) + kCount * sizeof(float) - 1;
    zero = zero && first_byte(static_cast<char*>(graphed[r]->ptr) + kCount * 2,
                              devices[r]->compute()) == 0;
    doubled = doubled && first_byte(last, devices[r]->compute()) == 0x53;
  }
  check("a graph's collective and eager calls do not overlap", zero && doubled);
  force_algorithm("");
}

void check_untested_pair(Device& device, Device& other) {
  std::vector<void*> taken;
  Driver& driver = other.driver();
  for (size_t unit : {size_t{1} << 30, 64 * kMiB, 2 * kMiB}) {
    while (void* ptr = driver.alloc(other.ordinal(), unit)) taken.push_back(ptr);
  }
  check("a pair without memory for a test is not used", !enable_peer(device, other));
  for (void* ptr : taken) driver.free(other.ordinal(), ptr, 0);
  bool works = false;
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!works && std::chrono::steady_clock::now() < limit) {
    works = enable_peer(device, other);
    if (!works) std::this_thread::yield();
  }
  check("it is tested again and used once there is", works);
  std::printf("measured %.1f GB/s\n", driver.measured_gbps(device.ordinal(), other.ordinal()));
}

/// 200 collectives of a compute and a communication stream: each call's edges, not all earlier ones'.
void check_edges(Device& device) {
  constexpr size_t kCalls = 200;
  auto* compute = static_cast<cudaStream_t>(device.compute().handle());
  auto* comm = static_cast<cudaStream_t>(device.comm().handle());
  cudaEvent_t there = nullptr, back = nullptr;
  Block* block = device.allocator().allocate(4096, device.compute());
  bool good = cudaEventCreateWithFlags(&there, cudaEventDisableTiming) == cudaSuccess &&
              cudaEventCreateWithFlags(&back, cudaEventDisableTiming) == cudaSuccess &&
              cudaStreamBeginCapture(compute, cudaStreamCaptureModeRelaxed) == cudaSuccess;
  for (size_t call = 0; good && call < kCalls; ++call) {
    good = cudaEventRecord(there, compute) == cudaSuccess &&
           cudaStreamWaitEvent(comm, there) == cudaSuccess;
    cuda::drop_implied_dependencies(comm);
    good = good && cudaMemsetAsync(block->ptr, 1, 4096, comm) == cudaSuccess &&
           cudaMemsetAsync(block->ptr, 2, 4096, comm) == cudaSuccess &&
           cudaEventRecord(back, comm) == cudaSuccess &&
           cudaStreamWaitEvent(compute, back) == cudaSuccess;
    cuda::drop_implied_dependencies(compute);
  }
  cudaGraph_t graph = nullptr;
  size_t nodes = 0, edges = 0;
  good = good && cudaStreamEndCapture(compute, &graph) == cudaSuccess &&
         cudaGraphGetNodes(graph, nullptr, &nodes) == cudaSuccess &&
         cudaGraphGetEdges(graph, nullptr, nullptr, nullptr, &edges) == cudaSuccess;
  std::printf("%zu nodes, %zu edges\n", nodes, edges);
  check("a captured chain over two streams has one edge a node",
        good && nodes == 2 * kCalls && edges == nodes - 1);
  cudaGraphDestroy(graph);
  cudaEventDestroy(there);
  cudaEventDestroy(back);
  device.allocator().free(block);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "cuda:0";
  try {
    Device& device = open_device(name);
    if (argc > 2) check_untested_pair(device, open_device(argv[2]));
    check_memory(device);
    check_staging(device);
    check_pieces(device);
    check_races(device);
    check_order(name);
    check_edges(device);
  } catch (const Error& error) {
    check(error.what(), false);
  }
  std::printf("capture_check: %s\n", failures == 0 ? "ok" : "FAILED");
  return failures == 0 ? 0 : 1;
}
