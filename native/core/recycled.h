// Memory of objects that every operator call makes and frees: a list of free pieces a thread and
// type, so that neither takes the heap's slow path. Base of TensorImpl and Storage.
//
// A piece goes to the list of the thread that frees it; what a list may not hold goes back to the
// heap, and so does all of it when its thread ends. Sanitizer builds use the heap alone, which
// finds uses after a free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>

namespace weft {

/// Free pieces of one size, linked through their first word. Trivial, so that it may be used until
/// the very end of its thread.
struct RecycleList {
  static constexpr uint32_t kMost = 1024;
  void* head = nullptr;
  uint32_t room = 0;  ///< pieces it still takes; 0 before it is opened and after its thread's end
  bool opened = false;
};

/// `list` has no room: opens it, when this is its first piece, or gives `piece` to the heap.
void recycle_slow(RecycleList& list, void* piece) noexcept;

template <typename T>
class Recycled {
 public:
  static void* operator new(size_t bytes) {
    static_assert(std::is_final_v<T>, "all pieces of a list have one size");
    RecycleList& list = list_;
    void* piece = list.head;
    if (piece == nullptr) [[unlikely]]
      return ::operator new(bytes);
    list.head = *static_cast<void**>(piece);
    ++list.room;
    return piece;
  }
  static void operator delete(void* piece) noexcept {
    RecycleList& list = list_;
    if (list.room == 0) [[unlikely]]
      return recycle_slow(list, piece);
    *static_cast<void**>(piece) = list.head;
    list.head = piece;
    --list.room;
  }

 private:
  static inline constinit thread_local RecycleList list_{};
};

}  // namespace weft
