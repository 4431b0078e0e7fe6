// A vector that keeps its first N elements in place: argument lists of operator calls never touch
// the heap in the usual case.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

namespace weft {

template <typename T, size_t N>
class SmallVector {
 public:
  SmallVector() = default;
  SmallVector(const SmallVector& o) {
    for (const T& x : o) push_back(x);
  }
  SmallVector& operator=(const SmallVector& o) {
    if (this != &o) {
      clear();
      for (const T& x : o) push_back(x);
    }
    return *this;
  }
  SmallVector(SmallVector&& o) noexcept { take(o); }
  SmallVector& operator=(SmallVector&& o) noexcept {
    if (this != &o) {
      release();
      take(o);
    }
    return *this;
  }
  ~SmallVector() { release(); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  T& back() { return data_[size_ - 1]; }

  void push_back(T x) {
    if (size_ == capacity_) grow(capacity_ * 2);
    new (data_ + size_++) T(std::move(x));
  }
  void resize(size_t n) {
    while (size_ > n) data_[--size_].~T();
    while (size_ < n) push_back(T());
  }
  void clear() { resize_down(); }

 private:
  T* inline_data() { return reinterpret_cast<T*>(storage_); }
  void resize_down() {
    while (size_ > 0) data_[--size_].~T();
  }
  void grow(size_t capacity) {
    T* heap = static_cast<T*>(::operator new(capacity * sizeof(T)));
    for (size_t i = 0; i < size_; ++i) {
      new (heap + i) T(std::move(data_[i]));
      data_[i].~T();
    }
    if (data_ != inline_data()) ::operator delete(data_);
    data_ = heap;
    capacity_ = capacity;
  }
  void release() {
    resize_down();
    if (data_ != inline_data()) ::operator delete(data_);
    data_ = inline_data();
    capacity_ = N;
  }
  void take(SmallVector& o) {
    if (o.data_ != o.inline_data()) {
      data_ = std::exchange(o.data_, o.inline_data());
      size_ = std::exchange(o.size_, 0);
      capacity_ = std::exchange(o.capacity_, N);
    } else {
      for (T& x : o) push_back(std::move(x));
      o.resize_down();
    }
  }

  alignas(T) unsigned char storage_[N * sizeof(T)];
  T* data_ = inline_data();
  size_t size_ = 0;
  size_t capacity_ = N;
};

}  // namespace weft
