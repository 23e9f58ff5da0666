// SPDX-License-Identifier: Apache-2.0
// The inside of a FuseConnection: its requests in progress and what their handlers share. Handlers
// (handlers.hpp) are plain functions (session, request); one that cannot answer at once submits an
// op, a sync or a read and names the function that goes on from there.
//
// A request's context lives from arrival to answer and outlives an abort of the connection: what
// is in flight below always comes back to it.
#pragma once

#include "engine/base/intrusive_list.hpp"
#include "engine/base/log.hpp"
#include "engine/io/loop.hpp"
#include "frontends/fuse/codec.hpp"
#include "frontends/fuse/fuse_abi.hpp"
#include "frontends/fuse/open_objects.hpp"
#include "frontends/fuse/removed_objects.hpp"
#include "frontends/fuse/target.hpp"
#include "frontends/fuse/transport.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace gemel::fuse {

class Session;
struct Request;

// Goes on with a request after what it waited for.
using Next = void (*)(Session& session, Request& request, Status status) noexcept;
// Begins, or (after a lack of memory for the answer) begins again.
using Handler = void (*)(Session& session, Request& request) noexcept;

struct Request final : ClientOp {
    struct Sync final : ClientSync {
        Request* request = nullptr;
        void on_complete(Status status) noexcept override;
    };
    struct Read final : IoOp {
        Request* request = nullptr;
        std::size_t count = 0;  // bytes that the last read moved
        void on_complete(Status status, std::size_t bytes) noexcept override;
    };

    void on_complete(Status status) noexcept override;
    [[nodiscard]] ObjectId node() const noexcept { return {header.nodeid}; }

    Session* session = nullptr;
    FuseSlot* slot = nullptr;  // null while the context is free
    InHeader header{};
    Body body;  // what follows the header; copies of it are taken by the handlers
    Next next = nullptr;
    Handler retry = nullptr;  // set while it waits for memory
    Sync sync;
    Read read;

    // What a handler keeps across a wait.
    SetattrIn setattr{};
    ReadIn range{};
    MutableBytes space;  // of the answer, filled so far: `filled`
    std::size_t filled = 0;
    std::uint32_t open_flags = 0;  // O_* of CREATE and WRITE
    PendingRemoval removal;
    Attributes victim;  // of a removal: what the name stood for, or none
};

struct SessionOptions {
    std::uint16_t volume = 0;  // Op::volume
    bool read_only = false;    // the secondary's mount: nothing cached, nothing changed
};

class Session final : public FuseTransport::Receiver {
   public:
    // Requires: all references outlive it.
    Session(Loop& loop, LogSink& log, FuseTarget& target, FuseTransport& transport,
            const SessionOptions& options) noexcept;
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    // `ended` runs once, when the kernel's side is gone and nothing of it is in flight any more.
    void start(std::function<void(Status)> ended) noexcept;
    void close() noexcept;

    // --- For handlers --------------------------------------------------------------------------
    [[nodiscard]] DirectoryVolume& volume() noexcept { return target_.volume(options_.volume); }
    [[nodiscard]] bool read_only() const noexcept { return options_.read_only; }
    [[nodiscard]] Loop& loop() noexcept { return loop_; }
    [[nodiscard]] LogSink& log() noexcept { return log_; }
    [[nodiscard]] FuseTransport& transport() noexcept { return transport_; }
    [[nodiscard]] OpenObjects& opened() noexcept { return opened_; }
    [[nodiscard]] RemovedObjects& removed() noexcept { return removed_; }
    // Of an object that is there or was there lately.
    Result<Attributes> attributes(ObjectId object) noexcept;
    [[nodiscard]] std::uint32_t minor_version() const noexcept { return minor_version_; }
    void set_minor_version(std::uint32_t minor) noexcept { minor_version_ = minor; }
    // Seconds for which the kernel may keep names and attributes.
    [[nodiscard]] std::uint64_t valid_seconds() const noexcept;
    // Shared by the handlers of directories and lists; empty between two requests.
    [[nodiscard]] std::vector<ListedEntry>& listing() noexcept { return listing_; }

    // Each ends the request.
    void answer_error(Request& request, int error) noexcept;
    void answer_empty(Request& request) noexcept { answer_error(request, 0); }
    void answer_bytes(Request& request, Bytes data) noexcept;
    void answer_two(Request& request, Bytes first, Bytes second) noexcept;
    template <typename T>
    void answer_struct(Request& request, const T& value) noexcept {
        answer_bytes(request, std::as_bytes(std::span(&value, 1)));
    }
    void answer_nothing(Request& request) noexcept;
    // The body was too short or holds a bad value: says so in the log, answers EIO.
    void answer_malformed(Request& request) noexcept;

    // Sends request.op to the mirror; goes on with `next`. Fills in the volume.
    void submit(Request& request, Next next) noexcept;
    // Makes `object` durable (or everything, for the root).
    void sync(Request& request, ObjectId object, bool data_only, Next next) noexcept;
    // Reads into `buffer`; request.read.count bytes came.
    void read(Request& request, Fd file, MutableBytes buffer, std::uint64_t offset,
              Next next) noexcept;
    // A read of the volume has failed, so its disk may have.
    void note_read_failure(Status status) noexcept { target_.note_read_failure(status); }
    // Memory for the answer in request.space, or false: `retry` will be called when there may be.
    bool take_space(Request& request, std::size_t size, Handler retry) noexcept;

    // How often each opcode has been received.
    [[nodiscard]] const std::array<std::uint64_t, kOpcodeCount>& received() const noexcept {
        return received_;
    }
    [[nodiscard]] std::size_t in_progress() const noexcept { return in_progress_; }

    void on_request(FuseSlot& slot) noexcept override;
    void on_space() noexcept override;
    void on_closed(Status reason) noexcept override;

   private:
    void finish(Request& request) noexcept;
    void check_ended() noexcept;

    Loop& loop_;
    LogSink& log_;
    FuseTarget& target_;
    FuseTransport& transport_;
    SessionOptions options_;
    std::function<void(Status)> ended_;
    std::unique_ptr<Request[]> requests_;  // by slot index
    std::size_t in_progress_ = 0;
    IntrusiveList<Request> waiting_;  // for memory
    OpenObjects opened_;
    RemovedObjects removed_;
    std::vector<ListedEntry> listing_;
    std::array<std::uint64_t, kOpcodeCount> received_{};
    std::uint32_t minor_version_ = 0;  // 0: INIT has not come
    bool started_ = false;
    bool closed_ = false;  // the transport is
    bool ended_called_ = false;
    Status reason_;
};

}  // namespace gemel::fuse
