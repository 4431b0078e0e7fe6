// See bench/nccl_ranks.h. Communicators are made on a thread of their own, so that a NCCL that never
// comes up is an error after a limit: the thread is then left to itself, with all that it uses.
// At the end communicators are aborted, not destroyed: that drops registrations with them and waits
// for no peer.
#include "bench/nccl_ranks.h"

#include <chrono>
#include <future>
#include <thread>

#if defined(WEFT_HAVE_CUDA)
#include "cuda/current_device.h"
#endif

namespace weft::bench {
namespace {

constexpr std::chrono::seconds kInitLimit{120};
constexpr int kSymmetricWindow = 1;  // NCCL_WIN_COLL_SYMMETRIC

void set_device(int ordinal) {
#if defined(WEFT_HAVE_CUDA)
  cuda::set_current_device(ordinal);
#else
  fail(ErrorCode::kDevice, "this build of weft has no device code: NCCL has no GPU %d", ordinal);
#endif
}

}  // namespace

const char* nccl_mode_name(NcclMode mode) {
  constexpr const char* kNames[] = {"plain", "registered", "symmetric"};
  return kNames[static_cast<int>(mode)];
}

NcclRanks::NcclRanks(std::shared_ptr<const Nccl> nccl, std::vector<Device*> devices)
    : nccl_(std::move(nccl)), devices_(std::move(devices)) {
  std::vector<int> ordinals;
  for (const Device* device : devices_) {
    if (device->kind() != fabric::DriverKind::kCuda) {
      fail(ErrorCode::kDevice, "NCCL runs on GPUs alone, not on %s", device->name().c_str());
    }
    if (device->virtual_index() >= 0) {
      fail(ErrorCode::kDevice, "NCCL takes one rank a GPU, %s is a part of one",
           device->name().c_str());
    }
    ordinals.push_back(device->ordinal());
  }
  using Made = std::pair<int, std::vector<NcclComm>>;
  auto promise = std::make_shared<std::promise<Made>>();
  std::future<Made> made = promise->get_future();
  std::thread([promise, ordinals, nccl = nccl_] {
    Made result{0, std::vector<NcclComm>(ordinals.size())};
    result.first = nccl->comm_init_all(result.second.data(), static_cast<int>(ordinals.size()),
                                       ordinals.data());
    promise->set_value(std::move(result));
  }).detach();
  if (made.wait_for(kInitLimit) != std::future_status::ready) {
    fail(ErrorCode::kDevice, "NCCL's ncclCommInitAll did not end within %d s",
         static_cast<int>(kInitLimit.count()));
  }
  auto [result, comms] = made.get();
  nccl_->check(result, "ncclCommInitAll");
  comms_ = std::move(comms);
}

NcclRanks::~NcclRanks() {
  // What these report cannot be acted on any more: the bench is over.
  for (NcclComm comm : comms_) (void)nccl_->comm_abort(comm);
  for (void* memory : allocated_) (void)nccl_->mem_free(memory);
}

std::string NcclRanks::missing(NcclMode mode) const {
  if (mode == NcclMode::kPlain) return "";
  const char* name = mode == NcclMode::kSymmetric ? "ncclCommWindowRegister" : "ncclCommRegister";
  const bool has = mode == NcclMode::kSymmetric ? nccl_->window_register != nullptr
                                                : nccl_->comm_register != nullptr;
  if (has && nccl_->mem_alloc != nullptr && nccl_->mem_free != nullptr) return "";
  return "this NCCL has no " + std::string(has ? "ncclMemAlloc" : name);
}

void NcclRanks::allocate(std::vector<void*>& list, size_t bytes) {
  for (const Device* device : devices_) {
    set_device(device->ordinal());
    void* memory = nullptr;
    nccl_->check(nccl_->mem_alloc(&memory, bytes), "ncclMemAlloc");
    allocated_.push_back(memory);
    list.push_back(memory);
  }
}

const NcclBuffers& NcclRanks::buffers(NcclMode mode, size_t bytes) {
  const auto place = static_cast<size_t>(mode);
  if (bytes_[place] >= bytes) return of_mode_[place];
  if (bytes_[place] != 0) {
    fail(ErrorCode::kUsage, "NCCL's %s buffers have %zu bytes, %zu are asked for",
         nccl_mode_name(mode), bytes_[place], bytes);
  }
  NcclBuffers made;
  allocate(made.in, bytes);
  allocate(made.out, bytes);
  for (const std::vector<void*>* list : {&made.in, &made.out}) {
    nccl_->check(nccl_->group_start(), "ncclGroupStart");
    std::vector<void*> handles(comms_.size());  // written by ncclGroupEnd; they go with the comms
    int result = 0;
    for (size_t r = 0; r < comms_.size(); ++r) {
      set_device(devices_[r]->ordinal());
      const int own =
          mode == NcclMode::kSymmetric
              ? nccl_->window_register(comms_[r], (*list)[r], bytes, &handles[r], kSymmetricWindow)
              : nccl_->comm_register(comms_[r], (*list)[r], bytes, &handles[r]);
      if (result == 0) result = own;
    }
    const int ended = nccl_->group_end();
    nccl_->check(result != 0 ? result : ended, "registration of buffers");
  }
  bytes_[place] = bytes;
  return of_mode_[place] = std::move(made);
}

void NcclRanks::start(fabric::CollectiveKind kind, std::span<void* const> in,
                      std::span<void* const> out, size_t count, DType dtype,
                      std::span<Stream* const> streams) {
  using fabric::CollectiveKind;
  const int type = nccl_dtype(dtype);
  nccl_->check(nccl_->group_start(), "ncclGroupStart");
  int result = 0;
  for (size_t r = 0; r < comms_.size() && result == 0; ++r) {
    void* const stream = streams[r]->handle();
    if (kind == CollectiveKind::kAllGather) {
      result = nccl_->all_gather(in[r], out[r], count, type, comms_[r], stream);
    } else if (kind == CollectiveKind::kReduceScatter) {
      result = nccl_->reduce_scatter(in[r], out[r], count, type, 0, comms_[r], stream);
    } else {
      result = nccl_->all_reduce(in[r], out[r], count, type, 0, comms_[r], stream);
    }
  }
  const int ended = nccl_->group_end();
  nccl_->check(result != 0 ? result : ended, "collective");
}

}  // namespace weft::bench
