// Opening and closing of the threads' lists; see recycled.h.
#include "core/recycled.h"

#include <utility>
#include <vector>

namespace weft {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kRecycles = false;
#else
constexpr bool kRecycles = true;
#endif

/// The open lists of one thread; gives their pieces back when the thread ends.
struct OpenLists {
  std::vector<RecycleList*> lists;
  ~OpenLists() {
    for (RecycleList* list : lists) {
      list->room = 0;  // and `opened` stays set: the list takes nothing any more
      void* piece = std::exchange(list->head, nullptr);
      while (piece != nullptr) ::operator delete(std::exchange(piece, *static_cast<void**>(piece)));
    }
  }
};

}  // namespace

void recycle_slow(RecycleList& list, void* piece) noexcept {
  ::operator delete(piece);
  if (!kRecycles || list.opened) return;
  thread_local OpenLists open;
  open.lists.push_back(&list);
  list.opened = true;
  list.room = RecycleList::kMost;
}

}  // namespace weft
