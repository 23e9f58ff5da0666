// SPDX-License-Identifier: Apache-2.0
// libgemel's Mirror and its volumes, over a MirrorHost with an EmbeddedFrontEnd.
#pragma once

#include "node/embedded_front_end.hpp"
#include "node/mirror_host.hpp"
#include <atomic>
#include <cstdint>
#include <gemel/node.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace gemel {

// What mirrors need of their node.
class EmbeddedContext {
   public:
    // Any thread. Never inside the call; in order of one thread's calls.
    virtual void run_on_loop(std::function<void()> task) = 0;
    // Loop's thread.
    virtual void emit(const libgemel::Event& event) noexcept = 0;

   protected:
    ~EmbeddedContext() = default;
};

class EmbeddedMirror;

class EmbeddedVolume final : public libgemel::Volume {
   public:
    EmbeddedVolume(EmbeddedMirror& mirror, std::size_t index, std::string name)
        : mirror_(mirror), index_(index), name_(std::move(name)) {}
    // On the loop, before the program gets it.
    void learn(std::uint64_t size, const ExportLimits& limits) noexcept;
    void set_size(std::uint64_t size) noexcept { size_.store(size); }

    [[nodiscard]] const std::string& name() const noexcept override { return name_; }
    [[nodiscard]] libgemel::Mirror& mirror() noexcept override;
    [[nodiscard]] std::uint64_t size() const noexcept override { return size_.load(); }
    [[nodiscard]] std::uint32_t block_size() const noexcept override { return block_size_; }
    [[nodiscard]] std::uint32_t request_size_max() const noexcept override { return request_max_; }
    void read(std::uint64_t offset, std::span<std::byte> data, libgemel::Completion done) override;
    void write(std::uint64_t offset, std::span<const std::byte> data, libgemel::Completion done,
               libgemel::Durability durability) override;
    void zero(std::uint64_t offset, std::uint64_t size, libgemel::Completion done,
              libgemel::Durability durability) override;
    void trim(std::uint64_t offset, std::uint64_t size, libgemel::Completion done) override;
    void flush(libgemel::Completion done) override;

   private:
    [[nodiscard]] EmbeddedRequest request(ExportRequestKind kind, libgemel::Completion done) const;

    EmbeddedMirror& mirror_;
    const std::size_t index_;
    const std::string name_;
    std::atomic<std::uint64_t> size_{0};
    std::uint32_t block_size_ = 0, request_max_ = 0;
};

class EmbeddedMirror final : public libgemel::Mirror, private EmbeddedUser {
   public:
    // Requires: both outlive it.
    EmbeddedMirror(EmbeddedContext& context, const MirrorConfig& config);
    ~EmbeddedMirror() override;

    // The front end that its host asks for; the host keeps it.
    std::unique_ptr<MirrorFrontEnd> make_front_end(Loop& loop, Duration end_limit);
    // The host is open, not started yet.
    void open(MirrorHost& host);
    // What is known now; tells of a new state.
    void refresh(const MirrorStatus& status);
    // The node is being closed: no hand-over waits for the program any more.
    void leave() noexcept { front_end_->wait_no_more(); }
    // The host goes.
    void close() noexcept;
    // For people.
    void notice(const std::string& word, const std::string& text);
    void begin(EmbeddedRequest request);
    [[nodiscard]] std::size_t running() const noexcept;

    [[nodiscard]] const std::string& name() const noexcept override { return config_.name; }
    [[nodiscard]] std::size_t volume_count() const noexcept override { return volumes_.size(); }
    [[nodiscard]] libgemel::Volume& volume(std::size_t index) noexcept override {
        return *volumes_[index];
    }
    [[nodiscard]] libgemel::Volume* find_volume(std::string_view name) noexcept override;
    [[nodiscard]] bool serves() const noexcept override { return serves_.load(); }
    [[nodiscard]] libgemel::MirrorStatus status() const override;
    void command(libgemel::Command command, libgemel::CommandDone done) override;
    void end_use() override;

   private:
    void on_begin_use() noexcept override;
    void on_end_use() noexcept override;
    void on_ending() noexcept override;
    void on_size_changed(std::size_t volume) noexcept override;
    void emit(libgemel::EventKind kind, std::string_view word, std::string_view text) noexcept;

    EmbeddedContext& context_;
    const MirrorConfig& config_;
    std::vector<std::unique_ptr<EmbeddedVolume>> volumes_;
    MirrorHost* host_ = nullptr;             // loop's thread
    EmbeddedFrontEnd* front_end_ = nullptr;  // loop's thread
    std::atomic<bool> serves_{false};
    mutable std::mutex mutex_;  // of status_
    libgemel::MirrorStatus status_;
};

}  // namespace gemel
