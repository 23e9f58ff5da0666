// SPDX-License-Identifier: Apache-2.0
// A session of the kernel's protocol without a kernel: requests made by hand, answers collected, a
// volume on a simulated file system behind it.
#pragma once

#include "engine/io/sim/loop.hpp"
#include "engine/io/sim/node.hpp"
#include "engine/io/sim/world.hpp"
#include "engine/store/directory_volume.hpp"
#include "frontends/fuse/session.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace gemel::fuse {

struct Answer {
    int error = 0;
    std::string data;

    template <typename T>
    [[nodiscard]] T as(std::size_t offset = 0) const {
        T value{};
        EXPECT_GE(data.size(), offset + sizeof value);
        if (data.size() >= offset + sizeof value) {
            std::memcpy(&value, data.data() + offset, sizeof value);
        }
        return value;
    }
};

// The bytes of a struct, to be joined with names and data.
template <typename T>
std::string raw(const T& value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
}
inline std::string name(std::string_view text) { return std::string(text) + '\0'; }

class FakeTransport final : public FuseTransport {
   public:
    explicit FakeTransport(std::size_t slots) : slots_(slots) {
        for (std::size_t i = 0; i < slots; ++i) slots_[i].index = static_cast<std::uint32_t>(i);
    }
    void start(Receiver& receiver) noexcept override { receiver_ = &receiver; }
    void close() noexcept override {
        if (!std::exchange(closed, true)) receiver_->on_closed(Status(Code::cancelled));
    }
    [[nodiscard]] std::size_t slot_count() const noexcept override { return slots_.size(); }
    void answer(FuseSlot& slot, int error, std::span<const Bytes> parts) noexcept override;
    void drop(FuseSlot& slot) noexcept override;
    MutableBytes answer_space(FuseSlot& slot, std::size_t size) noexcept override;
    void notify(std::int32_t, Bytes) noexcept override {}

    // Hands a request to the session; its answer will be under the returned number.
    std::uint64_t send(const InHeader& header, std::string_view body);

    std::map<std::uint64_t, Answer> answers;
    std::size_t dropped = 0;
    bool closed = false;
    bool space_is_short = false;
    Receiver* receiver_ = nullptr;

   private:
    struct Slot : FuseSlot {
        bool taken = false;
        alignas(8) std::byte request[4096 + 256];
        std::vector<std::byte> space;
    };
    Slot& end(FuseSlot& slot);

    std::vector<Slot> slots_;
    std::uint64_t next_unique_ = 2;
};

// Carries ops out on the volume alone; while `held`, only when release() is called.
class FakeTarget final : public FuseTarget {
   public:
    void note_read_failure(Status) noexcept override {}
    FakeTarget(Loop& loop, DirectoryVolume& volume) : loop_(loop), volume_(volume) {}
    void submit(ClientOp& op) noexcept override;
    void sync(ClientSync& sync) noexcept override;
    [[nodiscard]] DirectoryVolume& volume(std::uint16_t) noexcept override { return volume_; }
    void release();

    bool held = false;
    std::vector<ClientOp*> waiting;
    std::vector<OpKind> executed;
    std::vector<ObjectId> synced;
    bool last_sync_data_only = false;

   private:
    void execute(ClientOp& op);

    Loop& loop_;
    DirectoryVolume& volume_;
};

class SessionTest : public ::testing::Test {
   protected:
    SessionTest();
    ~SessionTest() override;

    // INIT as Linux 6.18 sends it.
    Answer init(std::uint32_t minor = 45, std::uint64_t flags = ~std::uint64_t{0});
    Answer send(Opcode opcode, std::uint64_t node, std::string_view body, std::uint32_t uid = 0);
    std::uint64_t begin(Opcode opcode, std::uint64_t node, std::string_view body,
                        std::uint32_t uid = 0);
    bool is_answered(std::uint64_t unique) const { return transport_.answers.contains(unique); }
    Answer wait_for(std::uint64_t unique);
    void start(bool read_only);
    // Makes a file in the root, closed again; its node id.
    std::uint64_t make_file(std::string_view file, std::string_view content,
                            std::uint32_t mode = 0644);

    class Log final : public LogSink {
       public:
        void log(LogLevel, std::string_view text) noexcept override { lines.emplace_back(text); }
        std::vector<std::string> lines;
    };

    sim::SimLoop& start_node();

    sim::World world_{1};
    sim::Node& node_;
    sim::SimLoop& loop_;
    Log log_;
    std::unique_ptr<DirectoryVolume> volume_;
    std::unique_ptr<FakeTarget> target_;
    FakeTransport transport_{32};
    std::unique_ptr<Session> session_;
    bool ended_ = false;
};

}  // namespace gemel::fuse
