// Transfers between devices: data arrives, both streams are ordered, also without peer access.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "group/collective_run.h"

namespace fabric {
namespace {

using test::Gate;
using test::host_devices;

class Transfer : public test::CleanFabric {
 protected:
  // Source written and destination read by the streams themselves; nothing waits on the host
  // between.
  void round_trip(Device& from, Device& to, size_t bytes, bool slow_producer) {
    Stream& producer = from.compute();
    Stream& consumer = to.compute();
    Block* source = from.allocator().allocate(bytes, producer);
    Block* target = to.allocator().allocate(bytes, consumer);
    std::vector<unsigned char> result(bytes);
    Gate gate;
    if (slow_producer) gate.hold(producer);
    auto* src = static_cast<unsigned char*>(source->ptr);
    auto* dst = static_cast<unsigned char*>(target->ptr);
    host::enqueue(producer.handle(), [=] {
      for (size_t i = 0; i < bytes; ++i) src[i] = static_cast<unsigned char>(i * 31 + i / 251);
    });
    Stream& worked = transfer(dst, consumer, src, producer, bytes);
    source->device->allocator().record_use(source, worked);
    target->device->allocator().record_use(target, worked);
    source->device->allocator().free(source);  // protected by the record
    host::enqueue(consumer.handle(),
                  [dst, bytes, to = result.data()] { std::memcpy(to, dst, bytes); });
    gate.open();
    consumer.synchronize();
    size_t wrong = 0;
    for (size_t i = 0; i < bytes; ++i) {
      wrong += result[i] != static_cast<unsigned char>(i * 31 + i / 251);
    }
    EXPECT_EQ(wrong, 0u) << bytes << " bytes " << from.name() << " to " << to.name();
    target->device->allocator().free(target);
    from.synchronize();
    to.synchronize();
  }
};

constexpr size_t kSizes[] = {1, 7, 4096, (64 << 10) + 3, (4 << 20) + 1, (21 << 20) + 5};

TEST_F(Transfer, BytesArriveBehindTheProducerAndBeforeTheConsumer) {
  auto devices = host_devices(2);
  for (size_t bytes : kSizes) round_trip(*devices[0], *devices[1], bytes, true);
}

TEST_F(Transfer, WhatTheSourcesStreamWritesNextComesAfterTheCopy) {
  auto devices = host_devices(2);
  Stream& producer = devices[0]->compute();
  Stream& consumer = devices[1]->compute();
  constexpr size_t kBytes = 4096;
  Block* source = devices[0]->allocator().allocate(kBytes, producer);
  Block* target = devices[1]->allocator().allocate(kBytes, consumer);
  void* src = source->ptr;
  host::enqueue(producer.handle(), [=] { std::memset(src, 1, kBytes); });
  Gate gate;  // the copy waits for the consumer's work so far
  gate.hold(consumer);
  transfer(target->ptr, consumer, src, producer, kBytes);
  host::enqueue(producer.handle(), [=] { std::memset(src, 2, kBytes); });
  EXPECT_FALSE(producer.idle());
  gate.open();
  consumer.synchronize();
  const auto* arrived = static_cast<const unsigned char*>(target->ptr);
  EXPECT_EQ(std::count(arrived, arrived + kBytes, 1), static_cast<long>(kBytes));
  producer.synchronize();
  source->device->allocator().free(source);
  target->device->allocator().free(target);
}

TEST_F(Transfer, WithoutPeerAccessBytesGoThroughStaging) {
  auto devices = host_devices(2);
  faults::set_peer_access(0, 1, false);
  for (size_t bytes : kSizes) round_trip(*devices[0], *devices[1], bytes, true);
  for (size_t bytes : kSizes) round_trip(*devices[1], *devices[0], bytes, false);
}

TEST_F(Transfer, StagingStaysBoundedWhileTheSourceIsHeld) {
  auto devices = host_devices(2);
  faults::set_peer_access(0, 1, false);
  constexpr size_t kBytes = 96u << 20;
  Block* source = devices[0]->allocator().allocate(kBytes, devices[0]->compute());
  Block* target = devices[1]->allocator().allocate(kBytes, devices[1]->compute());
  Gate gate;
  gate.hold(devices[0]->compute());
  const uint64_t before = staging_bytes();
  transfer(target->ptr, devices[1]->compute(), source->ptr, devices[0]->compute(), kBytes);
  EXPECT_LE(staging_bytes() - before, 16u << 20);
  gate.open();
  devices[1]->synchronize();
  devices[0]->allocator().free(source);
  devices[1]->allocator().free(target);
}

TEST_F(Transfer, WaitsForEarlierWorkOnTheDestination) {
  auto devices = host_devices(2);
  Block* source = devices[0]->allocator().allocate(64, devices[0]->compute());
  Block* target = devices[1]->allocator().allocate(64, devices[1]->compute());
  auto* src = static_cast<int*>(source->ptr);
  auto* dst = static_cast<int*>(target->ptr);
  Gate gate;
  int seen = -1;
  host::enqueue(devices[1]->compute().handle(), [dst] { *dst = 1; });
  gate.hold(devices[1]->compute());
  host::enqueue(devices[1]->compute().handle(), [dst, &seen] { seen = *dst; });
  host::enqueue(devices[0]->compute().handle(), [src] { *src = 2; });
  transfer(dst, devices[1]->compute(), src, devices[0]->compute(), sizeof(int));
  gate.open();
  devices[1]->compute().synchronize();
  EXPECT_EQ(seen, 1);
  EXPECT_EQ(*dst, 2);
  devices[0]->allocator().free(source);
  devices[1]->allocator().free(target);
}

TEST_F(Transfer, WithinOneStreamItIsAnEntryOfThatStream) {
  auto devices = host_devices(1);
  Stream& stream = devices[0]->compute();
  Block* block = devices[0]->allocator().allocate(2048, stream);
  auto* bytes = static_cast<char*>(block->ptr);
  host::enqueue(stream.handle(), [bytes] { std::memset(bytes, 7, 1024); });
  EXPECT_EQ(&transfer(bytes + 1024, stream, bytes, stream, 1024), &stream);
  stream.synchronize();
  EXPECT_EQ(bytes[2047], 7);
  devices[0]->allocator().free(block);
}

TEST_F(Transfer, NoBytesStillOrderTheStreams) {
  auto devices = host_devices(2);
  Gate gate;
  gate.hold(devices[0]->compute());
  transfer(nullptr, devices[1]->compute(), nullptr, devices[0]->compute(), 0);
  EXPECT_FALSE(devices[1]->compute().idle());
  gate.open();
  devices[1]->compute().synchronize();
}

}  // namespace
}  // namespace fabric
