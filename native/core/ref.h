// Intrusive reference counting for storages, tensors and autograd nodes: one atomic in the object,
// no separate control block, a pointer-sized handle.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace weft {

class RefCounted {
 public:
  void retain() const { count_.fetch_add(1, std::memory_order_relaxed); }
  /// The first reference, taken by the maker before anyone else knows the object.
  void retain_new() const {
    count_.store(count_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  /// True when the caller dropped the last reference and must delete the object. Nobody can take a
  /// reference from the last holder, so that one needs no locked instruction.
  bool release() const {
    return count_.load(std::memory_order_acquire) == 1 ||
           count_.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }
  uint32_t use_count() const { return count_.load(std::memory_order_acquire); }

 protected:
  RefCounted() = default;
  ~RefCounted() = default;

 private:
  mutable std::atomic<uint32_t> count_{0};
};

struct Owned {};
inline constexpr Owned kOwned{};

template <typename T>
class Ref {
 public:
  Ref() = default;
  Ref(T* p, Owned) : p_(p) {}  ///< takes over a reference that was counted
  explicit Ref(T* p) : p_(p) {
    if (p_) p_->retain();
  }
  Ref(const Ref& o) : Ref(o.p_) {}
  Ref(Ref&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  Ref& operator=(Ref o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~Ref() {
    if (p_ && p_->release()) delete p_;
  }
  T* get() const { return p_; }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }
  bool operator==(const Ref& o) const { return p_ == o.p_; }

 private:
  T* p_ = nullptr;
};

template <typename T, typename... A>
Ref<T> make_ref(A&&... args) {
  T* made = new T(std::forward<A>(args)...);
  made->retain_new();
  return Ref<T>(made, kOwned);
}

}  // namespace weft
