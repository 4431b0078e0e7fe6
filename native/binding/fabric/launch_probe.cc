// One launch that computes nothing, straight on the current stream: the floor that an operator call
// is measured against. bench/operators.ts calls it.
#include "binding/completion.h"
#include "binding/entry.h"
#include "fabric/fabric.h"
#include "fabric/host_queue.h"
#if defined(WEFT_HAVE_CUDA)
#include "cuda/launch_probe.h"
#endif

namespace weft::binding {
namespace {

napi_value empty_launch(Frame& f) {
  Stream& stream = current_stream(f.device(0));
  if (stream.device().kind() == fabric::DriverKind::kHost) {
    fabric::host::enqueue(stream.handle(), [] {});
  } else {
#if defined(WEFT_HAVE_CUDA)
    cuda::launch_empty(stream);
#endif
  }
  return undefined(f.env);
}

constexpr Function kFunctions[] = {{"emptyLaunch", entry<empty_launch>}};

}  // namespace

FunctionList launch_probe_functions() { return kFunctions; }

}  // namespace weft::binding
