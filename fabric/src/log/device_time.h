// Between the event log, which knows indices, and the drivers, which know streams: asks for the
// device times of records. log/event_log.cc calls it in mode timing; nothing here throws.
#pragma once

#include <cstdint>

#include "fabric/event_log.h"

namespace fabric::event_log {

/// Asks the driver of `device` for the time at which stream `stream` has done all that was enqueued
/// on it so far. Nothing happens when there is no such device or stream.
void stamp_record(uint16_t device, uint16_t stream, RecordHandle record, uint64_t host_ns);
/// Makes the clocks of the open devices ready.
void start_clocks();
/// Lets every driver with an open device write the times that it knows by now.
void collect_stamps();

}  // namespace fabric::event_log
