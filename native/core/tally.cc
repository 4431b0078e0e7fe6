// Pages of the counts; see tally.h.
#include "core/tally.h"

#include <memory>
#include <mutex>
#include <vector>

namespace weft::tally {
namespace {

struct Pages {
  std::mutex mutex;  // guards both lists
  std::vector<Cell*> all;
  std::vector<Cell*> free;
  Cell ended[kCells] = {};  // of threads past their end; written by locked additions
};

// Leaked on purpose: tensors may be released while the process ends.
Pages& pages() {
  static auto* instance = new Pages();
  return *instance;
}

struct PageOfThread {
  Cell* page;
  explicit PageOfThread(Cell* page) : page(page) {}
  ~PageOfThread() {
    t_page = nullptr;
    std::lock_guard<std::mutex> guard(pages().mutex);
    pages().free.push_back(page);
  }
};

constinit thread_local bool t_opened = false;

Cell* take_page() {
  Pages& p = pages();
  std::lock_guard<std::mutex> guard(p.mutex);
  if (p.free.empty()) {
    p.all.push_back(new Cell[kCells]());
    return p.all.back();
  }
  Cell* page = p.free.back();
  p.free.pop_back();
  return page;
}

}  // namespace

constinit thread_local Cell* t_page = nullptr;

void add_slow(int cell, int64_t delta) {
  if (t_opened) {
    pages().ended[cell].fetch_add(delta, std::memory_order_relaxed);
    return;
  }
  t_opened = true;
  thread_local PageOfThread mine(take_page());
  t_page = mine.page;
  add(cell, delta);
}

int64_t total(int cell) {
  Pages& p = pages();
  std::lock_guard<std::mutex> guard(p.mutex);
  int64_t sum = p.ended[cell].load(std::memory_order_relaxed);
  for (Cell* page : p.all) sum += page[cell].load(std::memory_order_relaxed);
  return sum;
}

}  // namespace weft::tally
