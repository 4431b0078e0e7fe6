// Casts, strided copies, fills and ranges of the host driver.
#include <gtest/gtest.h>

#include "cpu/register.h"
#include "host_values.h"

namespace weft::test {
namespace {

/// `v` as `dtype` holds it, by the rules of cpu/elementwise/convert_block.h.
double stored(double v, DType from, DType to) {
  char bytes[8];
  if (to == DType::kBool) return v != 0;
  if (is_floating(to)) {
    write_element(bytes, to, v);
    return read_element(bytes, to);
  }
  if (is_floating(from)) {
    double low = to == DType::kU8 ? 0 : (to == DType::kI32 ? -0x1p31 : -0x1p63);
    double high = to == DType::kU8 ? 255 : (to == DType::kI32 ? 0x1p31 - 1 : 0x1p63);
    if (std::isnan(v)) return 0;
    return std::fmin(std::fmax(std::trunc(v), low), high);
  }
  auto i = static_cast<int64_t>(v);
  return to == DType::kU8 ? uint8_t(i) : (to == DType::kI32 ? int32_t(i) : double(i));
}

void check_cast(const Tensor& a, DType to) {
  Tensor out = empty(a.shape(), to, host());
  cpu::cast(TensorIterator::build({&out, &a}, "cast"), stream());
  auto got = values(out), in = values(a);
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_TRUE(close(got[i], stored(in[i], a.dtype(), to), 0))
        << dtype_name(a.dtype()) << " to " << dtype_name(to) << " shape " << to_string(a.shape())
        << " at " << i << ": " << in[i] << " gives " << got[i];
  }
}

TEST(Cast, AnyToAnyOverLayouts) {
  for (DType from : kAllDTypes) {
    for (DType to : kAllDTypes) {
      auto value = [=](int64_t i) { return scattered(i, from, 200) / (is_floating(from) ? 7 : 1); };
      check_cast(make({}, from, value), to);
      check_cast(make({0}, from, value), to);
      check_cast(make({33333}, from, value), to);
      check_cast(transposed(make({70, 45}, from, value)), to);
      check_cast(transposed(make({3, 300, 261}, from, value)), to);
      check_cast(make_view(make({60, 50}, from, value), {20, 3, 17}, {150, 0, 3}, 1), to);
      check_cast(make_view(make({5}, from, value), {1000}, {0}, 3), to);
    }
  }
}

TEST(Cast, FloatsThatIntegersCannotHoldSaturate) {
  const double special[] = {NAN, INFINITY, -INFINITY, 3e9, -3e9, 1e20, -1e20, -1.9, 255.9, 300};
  for (DType from : {DType::kF32, DType::kF64})
    for (DType to : {DType::kI64, DType::kI32, DType::kU8, DType::kBool})
      check_cast(make({10}, from, [&](int64_t i) { return special[i]; }), to);
}

TEST(Cast, KeepsEvery64BitInteger) {
  Tensor a = empty({3}, DType::kI64, host());
  stream().synchronize();
  a.data_as<int64_t>()[0] = 0x7fffffffffffffffLL;
  a.data_as<int64_t>()[1] = -0x7fffffffffffffffLL;
  a.data_as<int64_t>()[2] = (1LL << 53) + 1;
  Tensor out = empty({3}, DType::kI64, host());
  cpu::unary(UnaryOp::kCopy, TensorIterator::build({&out, &a}, "copy"), {}, stream());
  stream().synchronize();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(out.data_as<int64_t>()[i], a.data_as<int64_t>()[i]);
}

TEST(Fill, AllDtypesContiguousAndStrided) {
  for (DType t : kAllDTypes) {
    Tensor base = make({50, 64}, t, [](int64_t) { return 1; });
    Tensor view = make_view(base, {50, 21}, {64, 3}, 1);
    cpu::fill(TensorIterator::build({&view}, "fill"), 0, stream());
    auto v = values(base);
    for (size_t i = 0; i < v.size(); ++i)
      ASSERT_EQ(v[i], i % 64 % 3 == 1 && i % 64 < 62 ? 0 : 1) << dtype_name(t) << " " << i;
    for (const Dims& shape : {Dims{}, Dims{0}, Dims{77777}}) {
      Tensor out = empty(shape, t, host());
      cpu::fill(TensorIterator::build({&out}, "fill"), 2.5, stream());
      for (double x : values(out)) ASSERT_EQ(x, stored(2.5, DType::kF64, t)) << dtype_name(t);
    }
  }
}

TEST(Range, CountsInAllDtypes) {
  for (DType t : kAllDTypes) {
    for (int64_t count : {0, 1, 100, 40000}) {
      Tensor out = empty({count}, t, host());
      cpu::range({t, out.data(), count, 3, 0.5}, stream());
      auto v = values(out);
      for (int64_t i = 0; i < count; ++i)
        ASSERT_EQ(v[i], stored(3 + 0.5 * double(i), DType::kF64, t)) << dtype_name(t) << " " << i;
    }
  }
}

}  // namespace
}  // namespace weft::test
