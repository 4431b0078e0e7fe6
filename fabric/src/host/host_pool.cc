// The compute pool of the host driver: threads that assist parallel_for callers. Callers are stream
// workers and kernels on them.
//
// Design. A call is a Job on the caller's stack. Caller and helpers take chunk numbers from one
// counter; the caller takes part until none is left, then withdraws the job and waits for helpers
// still inside a chunk. So a call never needs a helper: any number of callers, nested ones too,
// make progress alone, and a wait can only be for a thread that is running a chunk. That wait ends
// when the chunk does.
//  - Who signals: post() wakes sleeping helpers; the last helper out of a withdrawn job wakes its
//    caller.
//  - Ordered by what: the pool's mutex, taken by a helper on its way into and out of a job, orders
//    the helper's writes before the caller's return.
//  - What breaks it: a body that throws (the process ends) or that waits for another call's chunks.
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <ctime>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "fabric/host_queue.h"
#include "host/spin.h"

namespace fabric::host {
namespace {

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::atomic<int> g_spinners{0};

struct Job {
  int64_t n;
  int64_t grain;
  int64_t chunks;
  const std::function<void(int64_t, int64_t)>* body;
  std::atomic<int64_t> next{0};
  int helpers = 0;  // under the pool's mutex
  std::condition_variable empty;

  void drain() {
    for (;;) {
      const int64_t chunk = next.fetch_add(1, std::memory_order_relaxed);
      if (chunk >= chunks) return;
      const int64_t begin = chunk * grain;
      (*body)(begin, std::min(n, begin + grain));
    }
  }
};

class Pool {
 public:
  explicit Pool(int helpers) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < helpers; ++i) {
      try {
        std::thread([this] { help(); }).detach();
      } catch (const std::system_error&) {
        break;  // callers do the work themselves
      }
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void run(Job& job) {
    {
      std::lock_guard lock(mutex_);
      jobs_.push_back(&job);
      posted_.fetch_add(1, std::memory_order_release);
      const auto wake = std::min<int64_t>(sleeping_, job.chunks - 1);
      for (int64_t i = 0; i < wake; ++i) work_.notify_one();
    }
    job.drain();
    std::unique_lock lock(mutex_);
    jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
    while (job.helpers != 0) job.empty.wait(lock);
  }

 private:
  // The job with the fewest helpers that still has chunks to give.
  Job* pick() {
    Job* best = nullptr;
    for (Job* job : jobs_) {
      if (job->next.load(std::memory_order_relaxed) >= job->chunks) continue;
      if (best == nullptr || job->helpers < best->helpers) best = job;
    }
    return best;
  }

  void help() {
    pthread_setname_np(pthread_self(), "weft-compute");
    SpinBudget spin;
    std::unique_lock lock(mutex_);
    for (;;) {
      Job* job = pick();
      if (job == nullptr) {
        const uint64_t seen = posted_.load(std::memory_order_relaxed);
        lock.unlock();
        spin.spin([&] { return posted_.load(std::memory_order_acquire) != seen; });
        lock.lock();
        if (posted_.load(std::memory_order_relaxed) == seen) {
          ++sleeping_;
          work_.wait(lock);  // idle; run() wakes it
          --sleeping_;
        }
        continue;
      }
      ++job->helpers;
      lock.unlock();
      job->drain();
      lock.lock();
      if (--job->helpers == 0) job->empty.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable work_;
  std::vector<Job*> jobs_;
  int64_t sleeping_ = 0;
  std::atomic<uint64_t> posted_{0};
};

Pool& pool() {
  static auto* instance =
      new Pool(compute_threads() - 1);  // its threads outlive static destruction
  return *instance;
}

}  // namespace

int64_t clock_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

bool acquire_spin() {
  static const int limit = std::max(1, usable_cores() / 2);
  if (g_spinners.load(std::memory_order_relaxed) >= limit) return false;
  if (g_spinners.fetch_add(1, std::memory_order_relaxed) < limit) return true;
  release_spin();
  return false;
}

void release_spin() { g_spinners.fetch_sub(1, std::memory_order_relaxed); }

int compute_threads() {
  static const int threads = [] {
    if (const char* text = std::getenv("WEFT_NUM_THREADS")) {
      const int asked = std::atoi(text);
      if (asked >= 1) return std::min(asked, 1024);
    }
    return usable_cores();
  }();
  return threads;
}

void parallel_for(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  if (n <= 0) return;
  if (grain < 1) grain = 1;
  if (n <= grain) {
    body(0, n);
    return;
  }
  const int64_t chunks = (n - 1) / grain + 1;
  if (compute_threads() == 1) {
    for (int64_t begin = 0; begin < n; begin += grain) body(begin, std::min(n, begin + grain));
    return;
  }
  Job job{.n = n, .grain = grain, .chunks = chunks, .body = &body, .empty = {}};
  pool().run(job);
}

}  // namespace fabric::host
