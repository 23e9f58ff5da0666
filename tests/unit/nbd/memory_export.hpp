// SPDX-License-Identifier: Apache-2.0
// An Export over sparse memory, which completes requests from the loop in any order and checks that
// the server keeps to what export.hpp says. Also behind the server that real clients are run
// against (tests/scenario/nbd_test_server.cpp).
#pragma once

#include "engine/base/prng.hpp"
#include "engine/io/loop.hpp"
#include "frontends/nbd/export.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

namespace gemel::test {

class MemoryExport final : public Export {
   public:
    static constexpr std::uint64_t kChunk = 64 * 1024;

    MemoryExport(Loop& loop, std::string name, std::uint64_t size);
    ~MemoryExport() override;

    // --- For tests -----------------------------------------------------------------------------
    ExportLimits own_limits;
    bool read_only = false;
    bool dirty_context = true;
    std::string reason;      // of the refusal
    bool holds = false;      // completes nothing until release()
    bool slow_zero = false;  // refuses fast zeros
    Status next_failure;     // of the next request instead of doing it
    void release() noexcept;
    // Completes what is in flight with `status`, undone.
    void fail_pending(Status status) noexcept;
    void refuse(std::string why) noexcept;
    void grow(std::uint64_t size) noexcept;
    void peer_has_everything() noexcept { dirty_.clear(); }
    [[nodiscard]] std::string read_back(std::uint64_t offset, std::size_t size) const;
    [[nodiscard]] std::size_t pending() const noexcept { return pending_.size(); }
    [[nodiscard]] std::size_t buffers() const noexcept { return buffers_.size(); }
    [[nodiscard]] std::size_t buffer_bytes_max() const noexcept { return buffer_bytes_max_; }
    // Changes completed and not covered by a flush or FUA yet.
    [[nodiscard]] std::size_t volatile_changes() const noexcept { return volatile_changes_; }
    // Of each kind, submitted so far.
    [[nodiscard]] std::size_t count(ExportRequestKind kind) const noexcept {
        return counts_[static_cast<std::size_t>(kind)];
    }

    // --- Export --------------------------------------------------------------------------------
    [[nodiscard]] std::string name() const override { return name_; }
    [[nodiscard]] std::string description() const override { return "memory " + name_; }
    [[nodiscard]] std::uint64_t size() const noexcept override { return size_; }
    [[nodiscard]] ExportLimits limits() const noexcept override { return own_limits; }
    [[nodiscard]] bool is_read_only() const noexcept override { return read_only; }
    [[nodiscard]] std::string refusal() const override { return reason; }
    [[nodiscard]] bool has_dirty_context() const noexcept override { return dirty_context; }
    void submit(ExportRequest& request) noexcept override;
    [[nodiscard]] MutableBytes take_buffer(std::size_t size) noexcept override;
    void return_buffer(MutableBytes buffer) noexcept override;
    void set_events(ExportEvents* events) noexcept override { events_ = events; }

   private:
    using Chunk = std::array<std::byte, kChunk>;

    void check(const ExportRequest& request) const noexcept;
    void post_next() noexcept;
    void complete_one() noexcept;
    Status carry_out(ExportRequest& request) noexcept;
    void write(std::uint64_t offset, Bytes data) noexcept;
    void read(std::uint64_t offset, MutableBytes data) const noexcept;
    void zero(std::uint64_t offset, std::uint64_t size, bool keep) noexcept;
    void find_extents(ExportRequest& request) const noexcept;

    Loop& loop_;
    Prng prng_;
    std::string name_;
    std::uint64_t size_;
    std::map<std::uint64_t, std::unique_ptr<Chunk>> chunks_;
    std::set<std::uint64_t> dirty_;
    IntrusiveList<ExportRequest> pending_;
    std::map<std::byte*, std::size_t> buffers_;
    std::size_t buffer_bytes_ = 0, buffer_bytes_max_ = 0;
    std::size_t volatile_changes_ = 0;
    std::array<std::size_t, 7> counts_{};
    ExportEvents* events_ = nullptr;
};

}  // namespace gemel::test
