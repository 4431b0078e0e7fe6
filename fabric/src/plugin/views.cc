// See plugin/views.h.
#include "plugin/views.h"

#include <algorithm>
#include <cstring>

#include "topology/peer_access.h"

namespace fabric::plugin {
namespace {

constexpr WeftDtype kDtypes[kDTypeCount] = {
#define WEFT_DTYPE(enumerator, name, bytes, dl_code, dl_bits) {dl_code, dl_bits, 1},
#include "fabric/dtypes.def"
#undef WEFT_DTYPE
};

uint32_t driver_of(DriverKind kind) {
  return kind == DriverKind::kCuda ? WEFT_DRIVER_CUDA : WEFT_DRIVER_HOST;
}

}  // namespace

WeftDtype dtype_of(DType dtype) { return kDtypes[static_cast<int>(dtype)]; }

GroupView::GroupView(const GroupMembers& group) : WeftGroup{}, devices(group.devices) {
  const size_t n = devices.size();
  pinned_ = acquire_staging(devices[0]->driver(), n * sizeof(WeftControl));
  records_ = static_cast<WeftControl*>(pinned_.ptr);
  std::memset(pinned_.ptr, 0, n * sizeof(WeftControl));
  member_.reserve(n);
  for (size_t r = 0; r < n; ++r) {
    Device& device = *devices[r];
    comms.push_back(&group.comm(r));
    const auto sharers = std::count_if(devices.begin(), devices.end(), [&](const Device* other) {
      return other->ordinal() == device.ordinal();
    });
    const DeviceProperties& facts = device.properties();
    int64_t share = std::max<int64_t>(facts.multiprocessors / sharers, 1);
    if (group.multiprocessors > 0) share = std::min<int64_t>(share, group.multiprocessors);
    member_.push_back({sizeof(WeftMember), device.ordinal(), static_cast<uint32_t>(share),
                       static_cast<uint32_t>(facts.capability_major * 10 + facts.capability_minor),
                       group.comm(r).handle(), device.name().c_str(), records_ + r});
    for (size_t q = 0; q < n; ++q) {
      reaches_.push_back(q == r || fabric::reaches(device, *devices[q]) ? 1 : 0);
    }
  }
  for (const WeftMember& each : member_) pointers_.push_back(&each);
  size = sizeof(WeftGroup);
  id = group.id;
  driver = driver_of(devices[0]->kind());
  ranks = static_cast<uint32_t>(n);
  members = pointers_.data();
  WeftGroup::reaches = reaches_.data();
}

void GroupView::set_joined(std::vector<std::shared_ptr<Event>> done) {
  std::lock_guard lock(mutex_);
  joined_ = std::move(done);
}

bool GroupView::idle() const {
  const auto idles = [](Stream* comm) { return !comm->device().capturing() && comm->idle(); };
  if (!std::ranges::all_of(comms, idles)) return false;
  std::lock_guard lock(mutex_);
  return std::ranges::all_of(joined_, [](const auto& event) { return event->query(); });
}

GroupView::~GroupView() { release_staging(pinned_, nullptr); }

WeftCall shape_of(const CallShape& shape) {
  WeftCall call = {};
  call.size = sizeof(WeftCall);
  call.kind = static_cast<uint32_t>(shape.kind);
  call.op = static_cast<uint32_t>(shape.op);
  call.dtype = dtype_of(shape.dtype);
  call.ranks = static_cast<uint32_t>(shape.ranks);
  call.driver = driver_of(shape.driver);
  call.flags = (shape.in_place ? WEFT_CALL_IN_PLACE : 0) |
               (shape.captured ? WEFT_CALL_CAPTURED : 0) | (shape.peers ? WEFT_CALL_PEERS : 0);
  call.alignment = shape.alignment;
  call.group = shape.group;
  call.count = shape.count;
  call.bytes = shape.bytes;
  return call;
}

CallView::CallView(const CollectiveCall& call)
    : WeftCall(shape_of(call.shape)), devices(call.devices.begin(), call.devices.end()) {
  root = static_cast<uint32_t>(call.args[0].root);
  sequence = call.sequence;
  limit_ms = call.args[0].result_ms;
  for (size_t r = 0; r < devices.size(); ++r) {
    comms.push_back(&call.comm(r));
    handles.push_back(comms.back()->handle());
  }
  for (const CollectiveArgs& part : call.args) {
    parts.push_back({part.in, part.out});
    limit_ms = std::min(limit_ms, part.result_ms);
  }
  buffers = parts.data();
  streams = handles.data();
}

}  // namespace fabric::plugin
