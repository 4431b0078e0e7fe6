// GemmChoiceFile: see choice_file.h. One line an entry, in the order in which they were made:
//   {"m":8192,"n":1024,"k":256,"batch":1,"kind":4,"kernel":"sm90_bf16_128x128_kk","splits":1,
//    "swizzle":1}
#include "gemm/choice_file.h"

#include <unistd.h>

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace weft {
namespace {

std::string folder() {
  if (const char* own = std::getenv("WEFT_CACHE"); own && *own) return own;
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg && *xdg)
    return std::string(xdg) + "/weft";
  if (const char* home = std::getenv("HOME"); home && *home)
    return std::string(home) + "/.cache/weft";
  return "";
}

bool parse(GemmMenu menu, const std::string& line, GemmEntry* entry) {
  auto& [key, choice] = *entry;
  char name[64];
  const int fields = std::sscanf(
      line.c_str(),
      "{\"m\":%9d,\"n\":%9d,\"k\":%9d,\"batch\":%9d,\"kind\":%9u,\"kernel\":\"%63[^\"]\","
      "\"splits\":%9d,\"swizzle\":%9d}",
      &key.m, &key.n, &key.k, &key.batch, &key.kind, name, &choice.splits, &choice.swizzle);
  if (fields != 8) return false;
  choice.kernel = find_gemm_row(menu, name);
  if (choice.kernel == nullptr) return false;
  // A line changed by hand must not bring a kernel that reads its operands another way. Whether
  // splits and swizzle fit the shape, the book checks when it uses the line.
  return gemm_key(choice.kernel->kind(), {key.m, key.n, key.k, key.batch}) == key;
}

}  // namespace

GemmChoiceFile GemmChoiceFile::of_model(const std::string& model) {
  const std::string in = folder();
  if (in.empty()) return GemmChoiceFile("");
  std::string name;
  for (char c : model) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '-';
  return GemmChoiceFile(in + "/gemm-" + name + "-" + std::to_string(kGemmMenuVersion) + ".json");
}

std::vector<GemmEntry> GemmChoiceFile::read(GemmMenu menu) const {
  std::vector<GemmEntry> out;
  if (path_.empty()) return out;
  std::ifstream in(path_);
  GemmEntry entry;
  for (std::string line; std::getline(in, line);)
    if (parse(menu, line, &entry)) out.push_back(entry);
  return out;
}

void GemmChoiceFile::append(GemmMenu menu, const GemmEntry& entry) const {
  if (path_.empty()) return;
  const auto& [key, choice] = entry;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), ignored);
  const std::string beside = path_ + "." + std::to_string(::getpid());
  {
    std::ofstream out(beside, std::ios::trunc);
    std::ifstream in(path_);  // with what other processes added meanwhile
    GemmEntry old;
    for (std::string line; std::getline(in, line);)
      if (parse(menu, line, &old) && !(old.key == key)) out << line << '\n';
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

}  // namespace weft
