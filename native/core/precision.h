// How f32 products may be computed on devices with tensor cores: through TF32 (10 bits of mantissa
// in the factors, f32 sums; the default) or exactly in f32. Read by the kernels of native/cuda, set
// through the binding.
#pragma once

namespace weft {

/// Process-wide; holds for products enqueued afterwards.
void set_tf32_allowed(bool allowed);
bool tf32_allowed();

}  // namespace weft
