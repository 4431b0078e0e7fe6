// See late_write.h.
#include "core/late_write.h"

#include <algorithm>
#include <mutex>
#include <vector>

namespace weft {
namespace {

struct Announced {
  std::atomic<size_t> count{0};  // so that who asks for none takes no lock
  std::mutex mutex;              // guards writes
  std::vector<std::pair<Device*, LateWrite*>> writes;
};
Announced& announced() {
  static auto* all = new Announced();
  return *all;
}

}  // namespace

LateWrite::LateWrite(Ref<Storage> storage) : storage_(std::move(storage)) {
  Announced& all = announced();
  {
    std::lock_guard guard(all.mutex);
    all.writes.emplace_back(&storage_->device(), this);
    all.count.fetch_add(1);
  }
  storage_->set_late_write(this);
}

LateWrite::~LateWrite() {
  storage_->set_late_write(nullptr);
  Announced& all = announced();
  std::lock_guard guard(all.mutex);
  std::erase_if(all.writes, [&](const auto& entry) { return entry.second == this; });
  all.count.fetch_sub(1);
}

void order_late_writes(Stream& stream) {
  Announced& all = announced();
  if (all.count.load() == 0) return;
  std::vector<LateWrite*> own;  // ordering may wait for other ranks, which may announce meanwhile
  {
    std::lock_guard guard(all.mutex);
    for (const auto& [device, write] : all.writes) {
      if (device == &stream.device()) own.push_back(write);
    }
  }
  for (LateWrite* write : own) write->order(stream);
}

void Storage::order_behind_write(Stream& stream) { late_write()->order(stream); }

}  // namespace weft
