// Works: what a submitted collective becomes. src/fabric/work.ts calls these.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>

#include "binding/completion.h"
#include "binding/entry.h"
#include "binding/fabric/work_table.h"

namespace weft::binding {

uint32_t WorkTable::add(WorkEntry entry) {
  prune();
  uint32_t id = next_++;
  if (next_ == 0) next_ = 1;
  entries_.emplace(id, std::move(entry));
  order_.push_back(id);
  return id;
}

const WorkEntry* WorkTable::find(uint32_t id) const {
  auto it = entries_.find(id);
  if (it == entries_.end()) return nullptr;
  if (it->second.refused) throw *it->second.refused;
  return &it->second;
}

const WorkEntry& WorkTable::get(uint32_t id) const {
  const WorkEntry* entry = find(id);
  if (!entry) {
    fail(ErrorCode::kUsage,
         "work %u is not known on this thread: it was released, or finished long ago", id);
  }
  return *entry;
}

void WorkTable::clear() {
  entries_.clear();
  order_.clear();
}

// Asking whether a work is done is a call of the driver. Launched calls of a group end in their order, so of a batch
// the latest one of each group that is done answers for those before it. Failed ones stay for who asks late.
void WorkTable::prune() {
  if (order_.size() < kKept + kBatch) return;
  const bool full = order_.size() >= 8 * kKept;  // a failed call is never done: dropped in the end
  std::vector<uint32_t> kept;
  std::vector<uint32_t> passed;
  for (size_t i = kBatch; i-- > 0;) {
    const auto it = entries_.find(order_[i]);
    if (it == entries_.end()) continue;
    const WorkEntry& entry = it->second;
    const auto each = [&](auto holds) {
      return std::all_of(entry.works.begin(), entry.works.end(), holds);
    };
    const bool launched = !entry.refused && each([](auto& work) { return work->launched(); });
    bool done = launched && std::find(passed.begin(), passed.end(), entry.group) != passed.end();
    if (launched && !done) {
      done = each([](auto& work) { return work->done(); });
      if (done && entry.group != 0) passed.push_back(entry.group);
    }
    if (done || full) {
      entries_.erase(it);
    } else {
      kept.push_back(order_[i]);
    }
  }
  order_.erase(order_.begin(), order_.begin() + kBatch);
  order_.insert(order_.begin(), kept.rbegin(), kept.rend());
}

namespace {

/// Joins the works of one submit: the last to finish settles the promise with the first error.
struct Join {
  explicit Join(size_t count) : left(count) {}
  std::mutex mutex;  // guards the rest
  size_t left;
  std::optional<Error> error;
};

napi_value work_done(Frame& f) {
  const WorkEntry* entry = f.state->works->find(static_cast<uint32_t>(f.integer(0, 4294967295.0)));
  std::vector<std::shared_ptr<fabric::Work>> works;
  if (entry) works = entry->works;  // a forgotten one was done
  return f.state->completions->promise([&](napi_deferred deferred) {
    auto queue = f.state->completions;
    auto finish = [deferred, queue](std::optional<Error> error) {
      queue->post(
          [deferred, error = std::move(error)](Environment& state) {
            if (error) return reject(state, deferred, *error);
            resolve(state, deferred, undefined(state.env));
          },
          true);
    };
    if (works.empty()) return finish(std::nullopt);
    auto join = std::make_shared<Join>(works.size());
    for (const auto& work : works) {
      work->on_done([join, finish](const Error* error) {
        std::optional<Error> first;
        {
          std::lock_guard<std::mutex> guard(join->mutex);
          if (error && !join->error) join->error = *error;
          if (--join->left > 0) return;
          first = std::move(join->error);
        }
        finish(std::move(first));
      });
    }
  });
}

const WorkEntry& entry_of(Frame& f) {
  return f.state->works->get(static_cast<uint32_t>(f.integer(0, 4294967295.0)));
}

napi_value work_is_done(Frame& f) {
  bool done = true;
  const WorkEntry* entry = f.state->works->find(static_cast<uint32_t>(f.integer(0, 4294967295.0)));
  if (entry) {
    for (const auto& work : entry->works) done = done && work->done();
  }
  return make_bool(f.env, done);
}

napi_value work_wait_launched(Frame& f) {
  for (const auto& work : entry_of(f).works) work->wait_launched();
  return undefined(f.env);
}

napi_value work_stream_wait(Frame& f) {
  const WorkEntry& entry = entry_of(f);
  for (size_t i = 0; i < entry.works.size(); ++i) {
    if (!entry.works[i]->launched()) {
      fail(ErrorCode::kUsage,
           "workStreamWait: not all ranks have arrived; call waitLaunched() first");
    }
    entry.works[i]->stream_wait(current_stream(*entry.devices[i]));
  }
  return undefined(f.env);
}

napi_value work_votes(Frame& f) {
  return make_number(f.env, static_cast<double>(entry_of(f).works.front()->votes()));
}

napi_value work_release(Frame& f) {
  f.state->works->release(static_cast<uint32_t>(f.integer(0, 4294967295.0)));
  return undefined(f.env);
}

constexpr Function kFunctions[] = {
    {"workDone", entry<work_done>},
    {"workIsDone", entry<work_is_done>},
    {"workWaitLaunched", entry<work_wait_launched>},
    {"workStreamWait", entry<work_stream_wait>},
    {"workVotes", entry<work_votes>},
    {"workRelease", entry<work_release>},
};

}  // namespace

FunctionList work_functions() { return kFunctions; }

}  // namespace weft::binding
