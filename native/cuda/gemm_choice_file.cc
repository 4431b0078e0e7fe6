// GemmChoiceFile: see gemm_choice_file.h. One line an entry, in the order in which they were made:
//   {"m":8192,"n":1024,"k":256,"batch":1,"kind":4,"kernel":"sm90_bf16_128x128_kk","splits":1,
//    "swizzle":1}
#include "cuda/gemm_choice_file.h"

#include <unistd.h>

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>

namespace weft::cuda {
namespace {

constexpr int kVersion =
    2;  // of the menu and of the line: raised when a kernel changes under its old name

std::string folder() {
  if (const char* own = std::getenv("WEFT_CACHE"); own && *own) return own;
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg && *xdg)
    return std::string(xdg) + "/weft";
  if (const char* home = std::getenv("HOME"); home && *home)
    return std::string(home) + "/.cache/weft";
  return "";
}

std::string path_for(const std::string& model) {
  const std::string in = folder();
  if (in.empty()) return "";
  std::string name;
  for (char c : model) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '-';
  return in + "/gemm-" + name + "-" + std::to_string(kVersion) + ".json";
}

const GemmKernel* find_kernel(std::string_view name) {
  using GemmFile = GemmKernels (*)();
  static constexpr GemmFile files[] = {
#define WEFT_GEMM_FILE(file) file,
#include "cuda/gemm_menu.def"
#undef WEFT_GEMM_FILE
      nullptr,
  };
  for (GemmFile file : files) {
    if (file == nullptr) break;
    for (const GemmKernel& kernel : file())
      if (name == kernel.name) return &kernel;
  }
  return nullptr;
}

bool parse(const std::string& line, GemmChoiceFile::Entry* entry) {
  auto& [key, choice] = *entry;
  char name[64];
  const int fields = std::sscanf(
      line.c_str(),
      "{\"m\":%d,\"n\":%d,\"k\":%d,\"batch\":%d,\"kind\":%u,\"kernel\":\"%63[^\"]\","
      "\"splits\":%d,\"swizzle\":%d}",
      &key.m, &key.n, &key.k, &key.batch, &key.kind, name, &choice.splits, &choice.swizzle);
  if (fields != 8 || choice.splits < 0 || choice.splits > 64) return false;
  if (choice.swizzle < 1 || choice.swizzle > 8) return false;
  choice.kernel = find_kernel(name);
  if (choice.kernel == nullptr) return false;
  // A line changed by hand must not bring a kernel that reads its operands another way.
  const uint32_t kind = static_cast<uint32_t>(choice.kernel->dtype) |
                        static_cast<uint32_t>(choice.kernel->layout) << 8 |
                        static_cast<uint32_t>(choice.kernel->epilogue) << 16;
  return kind == key.kind && (choice.splits == 1 || choice.kernel->can_split);
}

}  // namespace

GemmChoiceFile::GemmChoiceFile(const std::string& model) : path_(path_for(model)) {}

std::vector<GemmChoiceFile::Entry> GemmChoiceFile::read() const {
  std::vector<Entry> out;
  if (path_.empty()) return out;
  std::ifstream in(path_);
  Entry entry;
  for (std::string line; std::getline(in, line);)
    if (parse(line, &entry)) out.push_back(entry);
  return out;
}

void GemmChoiceFile::append(const GemmKey& key, const GemmChoice& choice) const {
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), ignored);
  const std::string beside = path_ + "." + std::to_string(::getpid());
  {
    std::ofstream out(beside, std::ios::trunc);
    std::ifstream in(path_);  // with what other processes added meanwhile
    Entry old;
    for (std::string line; std::getline(in, line);)
      if (parse(line, &old) && !(old.first == key)) out << line << '\n';
    char line[256];
    std::snprintf(line, sizeof line,
                  "{\"m\":%d,\"n\":%d,\"k\":%d,\"batch\":%d,\"kind\":%u,\"kernel\":\"%s\","
                  "\"splits\":%d,\"swizzle\":%d}",
                  key.m, key.n, key.k, key.batch, key.kind, choice.kernel->name, choice.splits,
                  choice.swizzle);
    out << line << '\n';
    if (!out.flush()) {
      std::filesystem::remove(beside, ignored);
      return;
    }
  }
  std::filesystem::rename(beside, path_, ignored);
}

}  // namespace weft::cuda
