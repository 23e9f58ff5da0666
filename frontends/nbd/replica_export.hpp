// SPDX-License-Identifier: Apache-2.0
// A block volume of a mirror as an Export: requests become ops and syncs of the replica, cut to
// what one op may carry; reads go to the volume. Any offset and size will do; whole blocks are
// quickest.
//
// Serves only while its owner says so (set_refusal); what the replica then refuses all the same is
// passed on.
#pragma once

#include "engine/io/loop.hpp"
#include "engine/mirror/replica.hpp"
#include "frontends/nbd/buffer_cache.hpp"
#include "frontends/nbd/export.hpp"

#include <memory>
#include <string>
#include <vector>

namespace gemel {

class ReplicaExport final : public Export {
   public:
    // Requires: `volume` is a block volume; loop and replica outlive it, and it outlives its
    // requests unless the loop does not run any more.
    ReplicaExport(Loop& loop, Replica& replica, std::uint16_t volume, std::string name,
                  std::string description);
    ~ReplicaExport() override;

    // Why nobody may use it, or empty: it serves.
    void set_refusal(std::string reason);

    [[nodiscard]] std::string name() const override { return name_; }
    [[nodiscard]] std::string description() const override { return description_; }
    [[nodiscard]] std::uint64_t size() const noexcept override;
    [[nodiscard]] ExportLimits limits() const noexcept override;
    [[nodiscard]] bool is_read_only() const noexcept override { return false; }
    [[nodiscard]] std::string refusal() const override { return refusal_; }
    [[nodiscard]] bool has_dirty_context() const noexcept override { return true; }
    void submit(ExportRequest& request) noexcept override;
    [[nodiscard]] MutableBytes take_buffer(std::size_t size) noexcept override {
        return buffers_.take(size);
    }
    void return_buffer(MutableBytes buffer) noexcept override { buffers_.give_back(buffer); }
    void set_events(ExportEvents* events) noexcept override { events_ = events; }

   private:
    class Task;

    [[nodiscard]] BlockVolume& volume() noexcept;
    Task& take_task(ExportRequest& request) noexcept;
    void add_range(Task& task, std::uint64_t begin, std::uint64_t end, std::uint32_t flags);
    void add_zeros(Task& task, std::uint64_t begin, std::uint64_t end);
    void change(Task& task) noexcept;
    void read(Task& task) noexcept;
    void sync(Task& task) noexcept;
    void finish(Task& task, Status status) noexcept;
    Status describe_allocation(ExportRequest& request) noexcept;
    void describe_dirty(ExportRequest& request) noexcept;

    Loop& loop_;
    Replica& replica_;
    std::uint16_t volume_;
    std::string name_, description_, refusal_;
    ExportEvents* events_ = nullptr;
    nbd::BufferCache buffers_;
    // As many as were ever under way at once, which the server bounds; their memory is used again.
    std::vector<std::unique_ptr<Task>> tasks_;
    std::vector<Task*> idle_;
};

}  // namespace gemel
