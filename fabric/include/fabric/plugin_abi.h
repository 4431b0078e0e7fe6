/* The C ABI between weft and its plugins: pure C11, no type of ours in C++, no allocation passed
 * over. A plugin is a shared library that exports `weft_plugin`; this header is all that it needs.
 *
 * Versions. The major number changes when a struct or a meaning does; weft refuses another major.
 * Minor numbers only append: fields to the ends of structs (each starts with its size, as the side
 * that filled it knows it), functions to the end of WeftHost. weft runs plugins of its own minor and
 * of older ones, and refuses newer ones; a plugin that can do with an older weft asks host->size.
 *
 * Loading is a transaction: weft reads `weft_plugin`, calls open(), and only when that returns
 * WEFT_OK does anything become visible. Otherwise all that was registered is dropped and the library
 * unloaded.
 *
 * Errors. Functions return WEFT_OK or another status; whoever fails says why first, by
 * host->set_error() (its text is copied; one for each thread). Exceptions must not leave a plugin.
 * Threads. Functions of a plugin may be called from any thread; those of one group's state one after
 * the other, but for what says otherwise. Text is UTF-8, ends with 0 and is copied by whoever keeps
 * it; other pointers are good until the call returns, unless it says so.
 */
#ifndef WEFT_PLUGIN_ABI_H
#define WEFT_PLUGIN_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_ABI_MAJOR 1u
#define WEFT_ABI_MINOR 3u

#if defined(_WIN32)
#define WEFT_PLUGIN_EXPORT __declspec(dllexport)
#else
#define WEFT_PLUGIN_EXPORT __attribute__((visibility("default")))
#endif

typedef int32_t WeftStatus;
#define WEFT_OK 0
#define WEFT_FAILED 1         /* anything else */
#define WEFT_ERROR_ARGUMENT 2 /* the caller's fault */
#define WEFT_ERROR_MEMORY 3   /* out of memory */
#define WEFT_ERROR_DEVICE 4   /* the device's runtime failed */

/* DLPack's data type: code 0 int, 1 unsigned, 2 float, 4 bfloat, 6 bool; lanes is 1 here. */
typedef struct WeftDtype {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
} WeftDtype;

#define WEFT_DRIVER_HOST 0u
#define WEFT_DRIVER_CUDA 1u

/* Kinds of calls; numbers as in the event log. Others may come: say 0 in supports(). */
#define WEFT_ALL_REDUCE 0u
#define WEFT_BROADCAST 1u
#define WEFT_ALL_GATHER 2u
#define WEFT_REDUCE_SCATTER 3u
#define WEFT_REDUCE 4u
#define WEFT_BARRIER 5u

#define WEFT_SUM 0u
#define WEFT_AVG 1u
#define WEFT_MAX 2u
#define WEFT_MIN 3u
#define WEFT_PROD 4u

/* ---- Groups ------------------------------------------------------------------------------- */

/* Words in host memory that device code reaches at the same address, one record a rank, zeroed at
 * the start. weft writes `abort`; the plugin's work writes the rest, `status` last. A loop that waits
 * looks at `abort` now and then, and leaves when it is not 0. */
typedef struct WeftControl {
  uint32_t abort;
  uint32_t status;   /* 0; 1: left at its own deadline; 2: left because of `abort` */
  uint32_t rank;     /* that waited */
  uint32_t peer;     /* that it waited for */
  uint32_t epoch;    /* call of the group as the plugin counts */
  uint32_t chunk;    /* part of the payload */
  uint32_t phase;    /* the plugin's own numbers; see WeftAlgorithm.phases */
  uint32_t expected; /* flag that it waited for */
  uint32_t seen;     /* flag that stood there */
  uint32_t waited_us;
  uint32_t reserved[6];
} WeftControl;

/* One rank of a group. */
typedef struct WeftMember {
  uint32_t size;
  int32_t ordinal; /* of the GPU, or of the host device */
  uint32_t
      multiprocessors; /* that the rank's work may fill at once: its share of the GPU, or the group's limit */
  uint32_t capability; /* 90 for 9.0; 0 on the host */
  void* stream;        /* cudaStream_t on which calls run; opaque on the host */
  const char* name;    /* "cuda:0/1" */
  WeftControl* control;
} WeftMember;

/* The devices of a group in rank order; good from open() to close(). */
typedef struct WeftGroup {
  uint32_t size;
  uint32_t id;
  uint32_t driver;
  uint32_t ranks;
  const WeftMember* const* members;
  const uint8_t* reaches; /* [from * ranks + to]: `from` may read and write the memory of `to` */
} WeftGroup;

/* ---- Calls -------------------------------------------------------------------------------- */

#define WEFT_CALL_IN_PLACE 1u /* at one rank or more, out is in */
#define WEFT_CALL_CAPTURED 2u /* becomes part of a graph: launched once, run many times */
#define WEFT_CALL_PEERS 4u    /* every rank reaches the memory of every other */

/* One rank's buffers. `count` elements, as in fabric/group.h: all-gather writes, reduce-scatter reads
 * ranks * count. NULL for a barrier and where only the shape is asked about. */
typedef struct WeftBuffers {
  const void* in;
  void* out;
} WeftBuffers;

typedef struct WeftCall {
  uint32_t size;
  uint32_t kind;
  uint32_t op;
  WeftDtype dtype;
  uint32_t ranks;
  uint32_t root;
  uint32_t driver;
  uint32_t flags;
  uint32_t alignment; /* of all buffers, in bytes: a power of two up to 256 */
  uint32_t group;     /* id */
  uint64_t count;
  uint64_t bytes;             /* count * element */
  uint64_t sequence;          /* number of the call in its group */
  int64_t limit_ms;           /* for the result */
  const WeftBuffers* buffers; /* [ranks] */
  void* const* streams;       /* 1.3: [ranks], on which the call runs; NULL where buffers is */
} WeftCall;

/* ---- Algorithms --------------------------------------------------------------------------- */

#define WEFT_ALGORITHM_RANK_ORDER 1u /* same bits for every size, chunking and placement */
/* 1.3: launches on WeftCall.streams, which are not always the members': a call whose callers wait for
 * it at once runs on their own streams, without event edges. Each call still runs after the one before. */
#define WEFT_ALGORITHM_CALL_STREAMS 2u

/* A collective algorithm. All functions get `ctx`; `state` is what open() gave for the group. */
typedef struct WeftAlgorithm {
  uint32_t size;
  uint32_t flags;
  const char* name;
  void* ctx;
  /* Names of the numbers in WeftControl.phase, from 0; ends with NULL. May be NULL. */
  const char* const* phases;
  /* 1: can do the call; 0: cannot. Asked on every call, perhaps without buffers; takes no lock and
   * calls nothing of the host. */
  int32_t (*supports)(void* ctx, const WeftCall* call);
  /* On a group's first call. Takes memory by host->workspace(), looks whether its work can run at
   * the same time on all ranks. May wait for memory. */
  WeftStatus (*open)(void* ctx, const WeftGroup* group, void** state);
  /* Once; nothing of the group runs then. */
  void (*close)(void* ctx, void* state);
  /* Does all that may fail and enqueues nothing. `*prepared` may stay NULL. */
  WeftStatus (*prepare)(void* ctx, void* state, const WeftCall* call, void** prepared);
  /* Enqueues the call on the members' streams (1.3: on the call's), which have waited for the producers of `in`; what is
   * enqueued on a stream later finds `out` there. Not called when prepare() failed. */
  WeftStatus (*launch)(void* ctx, void* state, const WeftCall* call, void* prepared);
  /* Once for each successful prepare(), launched or not, on any thread: when nothing of the call is to
   * be enqueued any more and its functions on host streams have run; after a captured call when the
   * graph is gone. May be NULL. */
  void (*discard)(void* ctx, void* state, void* prepared);
  /* After work left early: nothing runs, the workspace and the control words are zero again. May be
   * NULL. */
  WeftStatus (*recover)(void* ctx, void* state);
} WeftAlgorithm;

/* Calls like this go to the algorithm by default. */
typedef struct WeftChoice {
  uint32_t size;
  uint32_t kind;
  uint32_t driver;
  uint32_t min_ranks;
  uint32_t max_ranks;
  WeftDtype dtype; /* bits 0: any */
  uint64_t max_bytes;
  const char* algorithm;
} WeftChoice;

/* ---- Operators (1.1; 1.2: Tensor[], gradients of operators that write in place) --------------- */

#define WEFT_MAX_DIMS 8
#define WEFT_MAX_OPERANDS 4

/* Laid out as DLPack's DLDevice (type 1: host, 2: cuda) and DLTensor; strides in elements, never
 * NULL; byte_offset is 0. data is memory of the device: only work on the call's stream may touch it. */
typedef struct WeftDevice {
  int32_t type;
  int32_t id;
} WeftDevice;

typedef struct WeftTensor {
  void* data;
  WeftDevice device;
  int32_t ndim;
  WeftDtype dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
} WeftTensor;

/* Where an argument of the schema lies: tensors in `input`, anything else in `number`. */
typedef struct WeftArgument {
  uint32_t first;
  uint32_t count; /* of an int[] or Tensor[]; else 1 */
} WeftArgument;

/* One call of an operator, or of its gradient; good until the function returns. */
typedef struct WeftOperatorCall {
  uint32_t size;
  uint32_t driver;
  int32_t ordinal; /* of the GPU, or of the host device; on cuda it is the current device */
  uint32_t arguments;
  uint32_t inputs;
  uint32_t numbers;
  uint32_t outputs; /* that the schema tells; in a gradient of Tensor!: 1, what was written */
  uint32_t reserved;
  void* stream;                 /* cudaStream_t; opaque on the host */
  const WeftArgument* argument; /* [arguments], by position in the schema */
  const WeftTensor* const*
      input;            /* [inputs]; NULL: absent. In a gradient data is NULL when not kept */
  const double* number; /* [numbers]; bool is 0 or 1 */
  const WeftTensor* const* output;  /* gradient: [outputs], NULL when not kept. Forward: NULL */
  const WeftTensor* const* arrived; /* gradient: [outputs], the gradient of each; NULL: none came */
  const uint8_t* needed;            /* gradient: [inputs], 1: its gradient is asked for */
} WeftOperatorCall;

/* A loop over up to four operands, written operand first: broadcast, sorted so that dimension 0 is
 * the fastest, dimensions merged where every operand allows it. */
typedef struct WeftIterator {
  uint32_t size;
  uint32_t operands;
  int32_t ndim;        /* 0 when count is 1 */
  uint32_t contiguous; /* 1: element i of each operand lies at data + i * its size */
  int64_t count;
  int64_t shape[WEFT_MAX_DIMS];
  void* data[WEFT_MAX_OPERANDS];
  int64_t strides[WEFT_MAX_OPERANDS][WEFT_MAX_DIMS]; /* bytes; 0 where broadcast */
  WeftDtype dtype[WEFT_MAX_OPERANDS];
} WeftIterator;

/* What operators call while one of their functions runs; WeftHost.operators. */
typedef struct WeftOperatorHost {
  uint32_t size;
  uint32_t reserved;
  /* Makes result `index`: a new tensor on the call's device, dense, its content undefined. In a
   * gradient: the gradient of input `index`; weft sums what that input was broadcast over. */
  WeftStatus (*output)(const WeftOperatorCall* call, uint32_t index, int32_t ndim,
                       const int64_t* shape, WeftDtype dtype, const WeftTensor** made);
  /* The shape that `count` tensors broadcast to (shape has WEFT_MAX_DIMS places), and the dtype that
   * their values combine in. */
  WeftStatus (*broadcast)(const WeftOperatorCall* call, uint32_t count,
                          const WeftTensor* const* tensors, int32_t* ndim, int64_t* shape,
                          WeftDtype* dtype);
  /* `tensor` in another dtype; itself when it has it. */
  WeftStatus (*convert)(const WeftOperatorCall* call, const WeftTensor* tensor, WeftDtype dtype,
                        const WeftTensor** converted);
  /* The loop over operands[0], which is written and has the whole shape, and the others. The caller
   * sets iterator->size. */
  WeftStatus (*iterate)(const WeftOperatorCall* call, uint32_t count,
                        const WeftTensor* const* operands, WeftIterator* iterator);
  /* Host driver only: fn(a copy of `bytes` at `argument`, at most 1024) in the order of the stream,
   * at every replay again when the call is captured. fn cannot fail: check before. */
  WeftStatus (*enqueue)(const WeftOperatorCall* call, void (*fn)(const void* argument),
                        const void* argument, uint64_t bytes);
} WeftOperatorHost;

#define WEFT_KEEP_ALL (~0u)

/* An operator. Schema: "ns::op(Tensor a, Tensor? b, Tensor[] c, float alpha = 1, int n, int[] dims,
 * bool flag) -> 1", with the number of results, 1 to 4; "Tensor!" as the first argument is written in
 * place, then there are 0. All tensors of a call lie on one device; results are new tensors, never views
 * of arguments. Functions check, make the results and enqueue; results of a call that failed are dropped.
 * The gradient of an operator that writes in place gets as `arrived` and `output` those of its first
 * argument as written, keeps as input 0 that argument as it was before, and makes its gradient. */
typedef struct WeftOperator {
  uint32_t size;
  uint32_t flags; /* 0 */
  const char* schema;
  void* ctx;
  WeftStatus (*host)(void* ctx, const WeftOperatorCall* call); /* NULL: not on this driver */
  WeftStatus (*cuda)(void* ctx, const WeftOperatorCall* call);
  /* NULL: results have no gradient. Makes, by output(), the gradient of each needed input that has
   * one; look at call->driver. */
  WeftStatus (*gradient)(void* ctx, const WeftOperatorCall* call);
  uint32_t keep_inputs; /* bit i: the gradient reads input i; with a Tensor[]: WEFT_KEEP_ALL or 0 */
  uint32_t keep_outputs; /* bit i: the gradient reads result i */
} WeftOperator;

/* ---- The host ----------------------------------------------------------------------------- */

typedef struct WeftRegistration WeftRegistration; /* good while open() runs */

#define WEFT_LOG_INFO 0
#define WEFT_LOG_WARNING 1

typedef struct WeftHost {
  uint32_t size;
  uint32_t major;
  uint32_t minor;
  uint32_t reserved;
  /* Any time. */
  void (*set_error)(const char* text);
  void (*log)(int32_t level, const char* text);
  /* In the plugin's open(). `algorithm` and `choice` are copied; what they point to is not. A choice
   * names an algorithm of the same plugin; the first that fits decides. */
  WeftStatus (*register_algorithm)(WeftRegistration* registration, const WeftAlgorithm* algorithm);
  WeftStatus (*add_choice)(WeftRegistration* registration, const WeftChoice* choice);
  /* In an algorithm's open(): `bytes` of zeroed memory on every device, mapped to all members that
   * reach it; `by_rank` gets the addresses. It stays until after close(). 512-byte aligned. */
  WeftStatus (*workspace)(const WeftGroup* group, uint64_t bytes, void** by_rank);
  /* In prepare(): memory of `rank` for this call alone. */
  WeftStatus (*scratch)(const WeftCall* call, uint32_t rank, uint64_t bytes, void** memory);
  /* In launch(): what is enqueued on `later`'s stream from now on runs after what is on `earlier`'s
   * so far. */
  WeftStatus (*order)(const WeftCall* call, uint32_t later, uint32_t earlier);
  /* In launch(), host driver only: runs fn(argument) in the order of `rank`'s stream, once, or at
   * every run of the graph; `argument` must stay good until discard(). `fn` must not wait for
   * another rank without looking at WeftControl.abort. */
  WeftStatus (*enqueue)(const WeftCall* call, uint32_t rank, void (*fn)(void* argument),
                        void* argument);
  /* 1.1. In the plugin's open(); the struct is copied, what it points to is not. */
  WeftStatus (*register_operator)(WeftRegistration* registration, const WeftOperator* op);
  const WeftOperatorHost* operators;
} WeftHost;

/* ---- The library -------------------------------------------------------------------------- */

typedef struct WeftPlugin {
  uint32_t size;
  uint32_t major; /* WEFT_ABI_MAJOR that it was compiled with */
  uint32_t minor;
  uint32_t reserved;
  const char* name;
  const char* version;
  WeftStatus (*open)(const WeftHost* host, WeftRegistration* registration);
  /* When nothing uses the plugin any more, before the library goes. May be NULL. */
  void (*close)(void);
} WeftPlugin;

/* What every plugin defines. */
WEFT_PLUGIN_EXPORT extern const WeftPlugin weft_plugin;

#ifdef __cplusplus
}
#endif
#endif
