// SPDX-License-Identifier: Apache-2.0
// What the NBD server needs of the volume behind an export: a narrow waist, so that the server can
// be tested over memory and knows no replication. An Export belongs to one loop; everything here is
// called on its thread only.
//
// The server checks every request before it submits it (range inside size(), alignment to
// limits().minimum_block, no change while writes are refused), so an implementation sees valid
// ones; what fails is the disk, its space, or that this node has ceased to serve.
//
// Durability, which lets the server offer many connections at once (NBD_FLAG_CAN_MULTI_CONN):
//   flush   covers every change that was completed before the flush was submitted, whichever
//           connection asked for it: all connections of an export share one Export;
//   fua     the change itself is durable when it completes.
// "Durable" and "completed" mean what the mirror's sync rule says (on both nodes, for "write").
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/intrusive_list.hpp"
#include "engine/base/status.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace gemel {

// Every buffer for payload begins at a multiple of it, so that O_DIRECT may be used.
inline constexpr std::size_t kExportBufferAlignment = 4096;

enum class ExportRequestKind : std::uint8_t {
    read,    // `size` bytes at `offset` into `data`
    write,   // `size` bytes of `data` to `offset`
    flush,   // offset and size are 0
    zero,    // the range reads as zeros afterwards
    trim,    // the range's content is of no interest any more; may do nothing
    cache,   // the range will be read soon; may do nothing
    status,  // the extents of `context` from `offset` on
};

enum class ExportContext : std::uint8_t {
    allocation,  // "base:allocation": kExtentHole, kExtentZero
    dirty,       // "gemel:dirty": kExtentDirty
};
enum ExtentFlags : std::uint32_t {
    kExtentHole = 1,   // takes no space: a write there may fail for lack of it
    kExtentZero = 2,   // reads as zeros
    kExtentDirty = 1,  // the peer may lack what is there
};
struct Extent {
    std::uint64_t size = 0;  // bytes, never 0
    std::uint32_t flags = 0;
};

// A request. The server owns it and what its views point to until on_complete, which comes exactly
// once, from the loop, never inside submit(). An implementation that needs a context for it keeps
// its own: how many requests are in flight is bounded (docs/nbd.md).
class ExportRequest : public ListLink {
   public:
    virtual ~ExportRequest() = default;
    // Else the errno for the client: status.as_errno(). cancelled, disconnected and refused mean
    // that this node does not serve (any more) and nothing is promised about the request; so does
    // every failure while refusal() is not empty. The client is dropped without an answer then.
    // EOPNOTSUPP of a zero with fast_zero: nothing was changed, it would not be quick.
    virtual void on_complete(Status status) noexcept = 0;

    ExportRequestKind kind = ExportRequestKind::read;
    bool fua = false;        // write, zero, trim
    bool no_hole = false;    // zero: keep (or get) the space
    bool fast_zero = false;  // zero: only if quicker than writing zeros
    ExportContext context = ExportContext::allocation;
    std::uint64_t offset = 0, size = 0;
    // read, write: exactly `size` bytes, from take_buffer() of the same export. A write does not
    // change them.
    MutableBytes data;
    // status: filled by the implementation with 1 to extents_max extents that follow one another
    // from `offset` on, multiples of the minimum block. They may end before offset + size, or
    // beyond it when that costs nothing, but not beyond the export's end.
    std::size_t extents_max = 1;
    std::vector<Extent> extents;
};

// What clients are told to keep to.
struct ExportLimits {
    // Offsets and sizes are multiples of it; a power of two, 1 to 65536, that divides size().
    std::uint32_t minimum_block = 512;
    std::uint32_t preferred_block = 4096;  // a power of two, at least minimum_block and 512
    // The largest read or write that is submitted; zero, trim, cache and status may be larger.
    std::uint32_t maximum_payload = 32 * 1024 * 1024;
};

// Told by an Export of what has changed; calls nothing of the export inside these but its queries.
class ExportEvents {
   public:
    // size() is another one. Requests under way are not concerned: an export only grows.
    virtual void on_size_changed() noexcept = 0;
    // refusal() or is_read_only() may answer otherwise than before.
    virtual void on_availability_changed() noexcept = 0;

   protected:
    ~ExportEvents() = default;
};

class Export {
   public:
    virtual ~Export() = default;

    // As clients ask for it at an address, at most 255 bytes of UTF-8: MIRROR/VOLUME. At a socket
    // of its own it is what follows the last slash.
    [[nodiscard]] virtual std::string name() const = 0;
    // A line for people, at most 255 bytes; may be empty.
    [[nodiscard]] virtual std::string description() const = 0;
    // In bytes, a multiple of limits().minimum_block. May grow; never shrinks.
    [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
    // Constant.
    [[nodiscard]] virtual ExportLimits limits() const noexcept = 0;
    // Whether changes are refused by policy while reads are answered.
    [[nodiscard]] virtual bool is_read_only() const noexcept = 0;
    // Why nobody may use the export now ("beta serves mirror vm1; this node is its secondary"), or
    // empty: it may be used. Once it is not empty, requests in flight are completed soon, be it
    // with `cancelled`, and the server drops the clients.
    [[nodiscard]] virtual std::string refusal() const = 0;
    // Whether requests with context `dirty` are answered.
    [[nodiscard]] virtual bool has_dirty_context() const noexcept = 0;

    // Begins a request. Any number may be in flight; they may complete in any order, and of two
    // that overlap in time either may come first, but a change submitted after the completion of
    // another takes effect after it.
    virtual void submit(ExportRequest& request) noexcept = 0;

    // Memory for one request's payload: `size` bytes (1 to limits().maximum_payload) that begin at
    // a multiple of kExportBufferAlignment, perhaps registered with the ring. Always succeeds: the
    // server limits how much it holds. Here: from the heap.
    [[nodiscard]] virtual MutableBytes take_buffer(std::size_t size) noexcept;
    // Gives back what take_buffer gave, unchanged in place and size.
    virtual void return_buffer(MutableBytes buffer) noexcept;

    // At most one at a time; null: nobody. Requires: it outlives its registration.
    virtual void set_events(ExportEvents* events) noexcept = 0;
};

}  // namespace gemel
