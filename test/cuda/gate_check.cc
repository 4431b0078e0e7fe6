// A gate that nobody opens, on one device, without Node: the held stream must go on at the gate's
// limit, with the fabric poisoned before. And one that host work opens. build_check.sh builds it.
//   gate_check [device = cuda:0]
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "fabric/fabric.h"
#include "runtime/gate_watch.h"

namespace {

using Clock = std::chrono::steady_clock;

int failures = 0;
void check(const char* what, bool good) {
  std::printf("%-52s %s\n", what, good ? "ok" : "FAIL");
  failures += good ? 0 : 1;
}

void run(fabric::Device& device) {
  fabric::Stream& held = device.create_stream();
  fabric::Device& other = fabric::open_device("host:0");
  if (&other.driver() != &device.driver()) {
    fabric::order_after(held, other.compute());
    check("a gate that host work opens lets the stream go",
          device.driver().synchronize_stream(held.handle(), 10'000));
  }
  const auto start = Clock::now();
  auto gate = std::make_shared<fabric::Gate>();
  device.driver().hold(held.handle(), gate);
  fabric::watch_gate(gate, "stream 9 of " + device.name(), std::chrono::milliseconds(300));
  check("a shut gate holds the stream", !device.driver().synchronize_stream(held.handle(), 100));
  std::string reason;
  try {
    if (!device.driver().synchronize_stream(held.handle(), 10'000)) reason = "the stream hangs";
    fabric::check_poison();
  } catch (const fabric::Error& error) {
    reason = error.message();
  }
  const std::chrono::duration<double, std::milli> waited = Clock::now() - start;
  std::printf("after %.0f ms: %s\n", waited.count(), reason.c_str());
  check("it goes on at the limit", waited.count() > 290 && waited.count() < 5'000);
  check("with the fabric poisoned", reason.find("must restart") != std::string::npos);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(fabric::open_device(argc > 1 ? argv[1] : "cuda:0"));
  } catch (const fabric::Error& error) {
    check(error.what(), false);
  }
  std::printf("gate_check: %s\n", failures == 0 ? "ok" : "FAILED");
  return failures == 0 ? 0 : 1;
}
