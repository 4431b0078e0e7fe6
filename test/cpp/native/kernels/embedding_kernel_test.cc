// Embedding rows and the sum of gradients into them, against double references.
#include "core/async_error.h"
#include "kernel_buffers.h"

namespace weft::kernel_test {
namespace {

class EmbeddingKernel : public ::testing::TestWithParam<DType> {};

TEST_P(EmbeddingKernel, ForwardAndBackward) {
  for (auto [vocabulary, width, count] :
       {std::array<int64_t, 3>{7, 5, 40}, {1000, 33, 3000}, {3, 1, 1}, {1, 700, 200}, {50, 8, 0}}) {
    SCOPED_TRACE(::testing::Message() << vocabulary << " " << width << " " << count);
    Buffer weight = random_buffer(GetParam(), vocabulary * width, 1),
           out = unwritten(GetParam(), count * width);
    Buffer grad = random_buffer(GetParam(), count * width, 2),
           sums = unwritten(GetParam(), vocabulary * width);
    std::vector<int64_t> indices(count);
    for (int64_t i = 0; i < count; ++i) indices[i] = (i * i * 31 + i / 3) % vocabulary;
    EmbeddingArgs args{.dtype = GetParam(),
                       .weight = weight.data(),
                       .indices = indices.data(),
                       .out = out.data(),
                       .grad_out = grad.data(),
                       .grad_weight = sums.data(),
                       .count = count,
                       .width = width,
                       .vocabulary = vocabulary,
                       .device = device().index()};
    cpu::embedding_forward(args, stream());
    cpu::embedding_backward(args, stream());
    const auto w = weight.values(), g = grad.values();
    std::vector<double> want(count * width), want_sums(vocabulary * width);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t j = 0; j < width; ++j) {
        want[i * width + j] = w[indices[i] * width + j];
        want_sums[indices[i] * width + j] += g[i * width + j];
      }
    expect_close(out.values(), want, 0, "out");
    expect_close(sums.values(), want_sums, tolerance(GetParam()), "grad_weight",
                 std::sqrt(static_cast<double>(count) / static_cast<double>(vocabulary) + 1));
  }
}

TEST_P(EmbeddingKernel, IndexOutOfRange) {
  Buffer weight(GetParam(), {1, 2, 3, 4}), out = unwritten(GetParam(), 6),
                                           sums = unwritten(GetParam(), 4);
  Buffer grad(GetParam(), {1, 1, 2, 2, 4, 4});
  const std::vector<int64_t> indices{1, 2, -1};
  EmbeddingArgs args{.dtype = GetParam(),
                     .weight = weight.data(),
                     .indices = indices.data(),
                     .out = out.data(),
                     .grad_out = grad.data(),
                     .grad_weight = sums.data(),
                     .count = 3,
                     .width = 2,
                     .vocabulary = 2,
                     .device = device().index()};
  cpu::embedding_forward(args, stream());
  cpu::embedding_backward(args, stream());
  expect_close(out.values(), {3, 4, 0, 0, 0, 0}, 0, "out");
  expect_close(sums.values(), {0, 0, 1, 1}, 0, "grad_weight");
  EXPECT_THROW(throw_async_error(device()), Error);
}

INSTANTIATE_TEST_SUITE_P(Floating, EmbeddingKernel, floating(), dtype_case);

}  // namespace
}  // namespace weft::kernel_test
