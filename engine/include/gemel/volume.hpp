// SPDX-License-Identifier: Apache-2.0
/// @file
/// A block volume and its requests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <gemel/error.hpp>
#include <span>
#include <string>

namespace libgemel {

class Mirror;

/// How a request ended. Called exactly once, on the loop's thread, never inside the call that
/// began the request. It must not throw and should not wait; it may begin further requests.
using Completion = std::function<void(Error)>;

/// What a change's completion promises.
enum class Durability : int {
    /// Both nodes hold it while both are in sync: it survives the death of either process, and of
    /// either machine together with a later flush.
    acknowledged = 0,
    /// Besides, it is on stable storage on both (forced unit access).
    durable = 1,
};

/// A block volume of a mirror: bytes that both nodes hold. The node owns it and keeps it until its
/// own end.
///
/// Any thread may call anything here. Requests of one thread are begun in the order of its calls;
/// any number may be under way (each takes memory: its own size and some hundred bytes). Of two
/// changes that overlap, the one that was begun later wins if the earlier one had completed before;
/// otherwise either may. A change that was completed is seen by every later read.
///
/// Offsets and sizes are in bytes and need no alignment; whole blocks are quickest.
class Volume {
   public:
    virtual ~Volume() = default;
    Volume() = default;
    Volume(const Volume&) = delete;             ///< Not copied.
    Volume& operator=(const Volume&) = delete;  ///< Not copied.

    /// What it is called. Any thread.
    /// @return as configured; valid as long as the volume.
    [[nodiscard]] virtual const std::string& name() const noexcept = 0;
    /// The mirror that it belongs to. Any thread.
    /// @return the node's.
    [[nodiscard]] virtual Mirror& mirror() noexcept = 0;
    /// Its size; may grow (EventKind::size), never shrinks. Any thread.
    /// @return bytes.
    [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
    /// Changes of whole blocks are quickest: nothing is read for them. Any thread.
    /// @return bytes, a power of two.
    [[nodiscard]] virtual std::uint32_t block_size() const noexcept = 0;
    /// The largest read() and write(); zero() and trim() have no such limit. Any thread.
    /// @return bytes.
    [[nodiscard]] virtual std::uint32_t request_size_max() const noexcept = 0;

    /// Reads data.size() bytes at `offset`.
    /// @param offset  bytes from the volume's begin.
    /// @param data  the caller's; filled when `done` says Error::none, and not to be touched
    /// before.
    /// @param done  Errors: invalid_argument, not_serving, io.
    virtual void read(std::uint64_t offset, std::span<std::byte> data, Completion done) = 0;

    /// Writes data.size() bytes at `offset`.
    /// @param offset  bytes from the volume's begin.
    /// @param data  the caller's; has to stay as it is until `done`.
    /// @param done  Errors: invalid_argument, not_serving, outcome_unknown, no_space, io.
    /// @param durability  what `done` promises.
    virtual void write(std::uint64_t offset, std::span<const std::byte> data, Completion done,
                       Durability durability = Durability::acknowledged) = 0;

    /// The range reads as zeros afterwards. It may give the space below back.
    /// @param offset  bytes from the volume's begin.
    /// @param size  bytes; of any length inside the volume.
    /// @param done  Errors: as write().
    /// @param durability  what `done` promises.
    virtual void zero(std::uint64_t offset, std::uint64_t size, Completion done,
                      Durability durability = Durability::acknowledged) = 0;

    /// The content of the range is of no interest any more: its whole blocks read as zeros
    /// afterwards and take no space, the rest of it stays as it is.
    /// @param offset  bytes from the volume's begin.
    /// @param size  bytes; of any length inside the volume.
    /// @param done  Errors: as write().
    virtual void trim(std::uint64_t offset, std::uint64_t size, Completion done) = 0;

    /// Every change that completed before this call is on stable storage on both nodes afterwards
    /// (on this one alone, while it serves alone).
    /// @param done  Errors: not_serving, outcome_unknown, io.
    virtual void flush(Completion done) = 0;
};

}  // namespace libgemel
