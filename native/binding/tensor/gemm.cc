// How GEMM kernels are chosen, for TypeScript: the policy, choices given back, choices used.
// src/fabric/gemm-policy.ts calls these before a GPU is opened, and for the folder of a run.
#include "binding/completion.h"
#include "binding/entry.h"
#include "binding/tensor/gemm_policy.h"
#include "fabric/fabric.h"
#include "fabric/ring_rank.h"
#include "gemm/book.h"
#include "gemm/policy.h"

namespace weft::binding {
namespace {

bool gpu_open() {
  for (Device* device : fabric::devices())
    if (device->kind() == fabric::DriverKind::kCuda) return true;
  return false;
}

std::vector<GemmGpu> gpus_here() {
  std::vector<GemmGpu> out;
  const fabric::Driver* driver = fabric::find_driver(fabric::DriverKind::kCuda);
  for (int i = 0; driver != nullptr && i < driver->device_count(); ++i)
    out.push_back(gemm_gpu(driver->properties(i)));
  return out;
}

/// An array of JavaScript, read by position.
class Row {
 public:
  Row(napi_env env, napi_value array) : env_(env), array_(array) {
    bool is_array = false;
    WEFT_NAPI(napi_is_array(env, array, &is_array));
    if (!is_array) fail(ErrorCode::kUsage, "giveGemmChoices takes arrays of arrays");
    WEFT_NAPI(napi_get_array_length(env, array, &length_));
  }
  uint32_t length() const { return length_; }
  napi_value at(uint32_t i) const {
    napi_value value;
    WEFT_NAPI(napi_get_element(env_, array_, i, &value));
    return value;
  }
  int integer(uint32_t i) const {
    double v = 0;
    const bool number = napi_get_value_double(env_, at(i), &v) == napi_ok;
    if (!number || !(v >= INT32_MIN && v <= INT32_MAX) || v != static_cast<int>(v))
      fail(ErrorCode::kUsage, "giveGemmChoices takes whole numbers of 32 bits");
    return static_cast<int>(v);
  }
  std::string text(uint32_t i) const {
    char buffer[256];
    size_t length = 0;
    if (napi_get_value_string_utf8(env_, at(i), buffer, sizeof buffer, &length) != napi_ok)
      fail(ErrorCode::kUsage, "giveGemmChoices takes names as text");
    return {buffer, length};
  }

 private:
  napi_env env_;
  napi_value array_;
  uint32_t length_ = 0;
};

GivenGemms given_of(napi_env env, const Row& gpu) {
  const std::string model = gpu.text(0);
  const int multiprocessors = gpu.integer(1);
  std::vector<GivenRow> rows;
  const Row list(env, gpu.at(2));
  for (uint32_t i = 0; i < list.length(); ++i) {
    const Row row(env, list.at(i));
    rows.push_back({row.text(0),
                    {row.integer(1), row.integer(2), row.integer(3), row.integer(4)},
                    row.integer(5),
                    row.integer(6)});
  }
  for (const GemmGpu& here : gpus_here()) {
    if (here.model == model && here.multiprocessors == multiprocessors)
      return check_given(gemm_menu(), here, rows);
  }
  fail(ErrorCode::kDevice, "GEMM choices of %s: this machine has no such GPU", model.c_str());
}

/// Sums over ranks follow rings of devices: their order repeats where products must.
void follow_with_rings() {
  fabric::rank_rings_by_measure(gemm_policy().kind() == GemmPolicyKind::kMeasured);
}

// gemmPolicy(): 'measured' | 'estimated' | 'given'
napi_value policy(Frame& f) {
  follow_with_rings();  // WEFT_DETERMINISTIC; asked for before each opening of a GPU
  return make_text(f.env, gemm_policy_name(gemm_policy().kind()));
}

// gemmFacts(): {menu, gpus: {model, multiprocessors}[]}, GPUs by ordinal
napi_value facts(Frame& f) {
  const std::vector<GemmGpu> here = gpus_here();
  napi_value gpus = make_array(f.env, here.size());
  for (uint32_t i = 0; i < here.size(); ++i) {
    napi_value o = make_object(f.env);
    set(f.env, o, "model", make_text(f.env, here[i].model));
    set(f.env, o, "multiprocessors", make_number(f.env, here[i].multiprocessors));
    set(f.env, gpus, i, o);
  }
  napi_value out = make_object(f.env);
  set(f.env, out, "menu", make_number(f.env, kGemmMenuVersion));
  set(f.env, out, "gpus", gpus);
  return out;
}

napi_value require_deterministic(Frame& f) {
  gemm_policy().require_deterministic(gpu_open());
  follow_with_rings();
  return undefined(f.env);
}

// giveGemmChoices([model, multiprocessors, [kernel, m, n, k, batch, splits, swizzle][]][]): void
napi_value give(Frame& f) {
  std::vector<GivenGemms> given;
  const Row gpus(f.env, f.values[0]);
  for (uint32_t i = 0; i < gpus.length(); ++i)
    given.push_back(given_of(f.env, Row(f.env, gpus.at(i))));
  gemm_policy().give(std::move(given), gpu_open());
  follow_with_rings();
  return undefined(f.env);
}

napi_value reset(Frame& f) {
  gemm_policy().reset(gpu_open());
  follow_with_rings();
  return undefined(f.env);
}

// gemmChoices(): {model, multiprocessors, choices: {…}[]}[]
napi_value choices(Frame& f) {
  const std::vector<const GemmBook*> books = gemm_books();
  napi_value out = make_array(f.env, books.size());
  for (uint32_t b = 0; b < books.size(); ++b) {
    const std::vector<GemmEntry> used = books[b]->used();
    napi_value list = make_array(f.env, used.size());
    for (uint32_t i = 0; i < used.size(); ++i) {
      const auto& [key, choice] = used[i];
      napi_value o = make_object(f.env);
      set(f.env, o, "kernel", make_text(f.env, choice.kernel->name));
      set(f.env, o, "m", make_number(f.env, key.m));
      set(f.env, o, "n", make_number(f.env, key.n));
      set(f.env, o, "k", make_number(f.env, key.k));
      set(f.env, o, "batch", make_number(f.env, key.batch));
      set(f.env, o, "splits", make_number(f.env, choice.splits));
      set(f.env, o, "swizzle", make_number(f.env, choice.swizzle));
      set(f.env, list, i, o);
    }
    napi_value o = make_object(f.env);
    set(f.env, o, "model", make_text(f.env, books[b]->gpu().model));
    set(f.env, o, "multiprocessors", make_number(f.env, books[b]->gpu().multiprocessors));
    set(f.env, o, "choices", list);
    set(f.env, out, b, o);
  }
  return out;
}

constexpr Function kFunctions[] = {
    {"gemmPolicy", entry<policy>},
    {"gemmFacts", entry<facts>},
    {"requireDeterministic", entry<require_deterministic>},
    {"giveGemmChoices", entry<give>},
    {"resetGemmPolicy", entry<reset>},
    {"gemmChoices", entry<choices>},
};

}  // namespace

FunctionList gemm_functions() { return kFunctions; }

bool deterministic() { return !gpu_open() || gemm_policy().kind() != GemmPolicyKind::kMeasured; }

}  // namespace weft::binding
