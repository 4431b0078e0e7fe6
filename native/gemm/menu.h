// What choosing a tensor-core GEMM kernel needs to know of a kernel, a product and a GPU: no device
// code, so that choices compile and are tested on any machine. candidates.cc lists and estimates,
// book.cc remembers; native/cuda/gemm/kernel_menu.h adds what launches a kernel.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fabric/driver.h"
#include "fabric/dtype.h"

namespace weft {

/// Of the kernels and of the lines that name them: raised when a kernel changes under its old name.
inline constexpr int kGemmMenuVersion = 2;

/// Which dimension of A, then of B, is dense in memory: x·Wᵀ is kKK, g·W is kKN, gᵀ·x is kMN.
enum class GemmLayout : uint8_t { kKK = 0, kKN = 1, kMN = 2, kMK = 3 };

/// kLinear: alpha·A·B + beta·C + bias (bias may be nullptr).
/// kGelu: gelu(alpha·A·B + bias), and the value before it where that is wanted.
enum class GemmEpilogue : uint8_t { kLinear = 0, kGelu = 1 };

/// What a product asks of the menu, sizes aside.
struct GemmKind {
  fabric::DType dtype;
  GemmLayout layout;
  GemmEpilogue epilogue;
  bool operator==(const GemmKind&) const = default;
};

/// C is (m,n) of `batch` products.
struct GemmSizes {
  int m, n, k, batch;
};

/// One kernel of the menu.
struct GemmRow {
  const char* name;  // "sm90_bf16_128x256_kk": stable, used in the files of choices
  fabric::DType dtype;
  GemmLayout layout;
  GemmEpilogue epilogue;
  int tile_m, tile_n;
  bool can_split;  // heeds GemmChoice::splits
  int least_splits = 1;

  GemmKind kind() const { return {dtype, layout, epilogue}; }
};

/// All kernels of this build, in the order in which choices are tried.
using GemmMenu = std::span<const GemmRow* const>;

/// How one product is multiplied.
struct GemmChoice {
  const GemmRow* kernel = nullptr;  ///< nullptr: the menu has none for this device and layout
  int splits = 1;                   ///< of k among blocks; 1: none, 0: as the kernel sees fit
  int swizzle = 1;  ///< tiles side by side that one after the other keep in the cache
  bool operator==(const GemmChoice&) const = default;
};

/// What of a GPU choices depend on.
struct GemmGpu {
  std::string model;
  int multiprocessors = 0;
  int capability_major = 0;
  bool operator==(const GemmGpu&) const = default;
};
GemmGpu gemm_gpu(const fabric::DeviceProperties& properties);

/// A product as tables and files of choices know it.
struct GemmKey {
  int m, n, k, batch;
  uint32_t kind;  // dtype, layout, epilogue
  bool operator==(const GemmKey&) const = default;
  auto operator<=>(const GemmKey&) const = default;
};
GemmKey gemm_key(const GemmKind& kind, const GemmSizes& sizes);

struct GemmEntry {
  GemmKey key;
  GemmChoice choice;
  bool operator==(const GemmEntry&) const = default;
};

/// The menu of this process; empty in builds without device code. Its rows live as long as the
/// process.
GemmMenu gemm_menu();
void register_gemm_menu(std::vector<const GemmRow*> rows);
const GemmRow* find_gemm_row(GemmMenu menu, std::string_view name);  ///< nullptr: none

}  // namespace weft
