// SPDX-License-Identifier: Apache-2.0
// A directory of plain files with a loop whose writes and syncs complete when the test says so.
// Everything written is also kept as a list of events, so that a test can build the bytes that a
// crash at any point would have left (tests of the intent log and the superblock).
#pragma once

#include "engine/base/log.hpp"
#include "engine/io/loop.hpp"

#include <algorithm>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <map>
#include <string>
#include <vector>

namespace gemel {

class QuietLog final : public LogSink {
   public:
    void log(LogLevel, std::string_view text) noexcept override { lines.emplace_back(text); }
    std::vector<std::string> lines;
};

using DiskImage = std::map<std::string, ByteBuffer>;

struct DiskEvent {
    enum class Kind { write, sync, note } kind = Kind::note;
    std::string file;
    std::uint64_t offset = 0;
    ByteBuffer data;
    std::uint64_t note = 0;
};

// Only what the two users call is there; everything else answers ENOSYS.
class FakeVfs final : public Vfs {
   public:
    static constexpr Fd kDirectory{1};

    DiskImage files;
    std::vector<DiskEvent> events;
    std::size_t write_size_max = ~std::size_t{0};  // makes writes short
    Status sync_result, read_result;
    std::uint64_t unreadable_begin = 0, unreadable_end = 0;  // bytes of every file that answer EIO
    int open_count = 0;

    void note(std::uint64_t number) {
        events.push_back({DiskEvent::Kind::note, {}, 0, {}, number});
    }

    Result<Fd> open_directory(std::string_view) noexcept override { return kDirectory; }
    Result<Fd> open_at(Fd, std::string_view name, int flags, mode_t) noexcept override {
        const std::string key(name);
        if (!files.contains(key) && (flags & O_CREAT) == 0) return Status::from_errno(ENOENT);
        if (files.contains(key) && (flags & O_EXCL) != 0) return Status::from_errno(EEXIST);
        if ((flags & O_TRUNC) != 0) files[key].clear();
        (void)files[key];
        ++open_count;
        descriptors_.push_back(key);
        return Fd{static_cast<int>(descriptors_.size()) + 9};
    }
    void close(Fd) noexcept override { --open_count; }
    void close_later(Fd file) noexcept override { close(file); }
    bool finish_closing() noexcept override { return false; }
    Result<FileStat> stat(Fd file) noexcept override {
        FileStat stat;
        stat.size = content(file).size();
        return stat;
    }
    Result<FileStat> stat_at(Fd, std::string_view name) noexcept override {
        if (!files.contains(std::string(name))) return Status::from_errno(ENOENT);
        return FileStat{};
    }
    Result<std::size_t> pread(Fd file, MutableBytes buffer,
                              std::uint64_t offset) noexcept override {
        if (!read_result.ok()) return read_result;
        if (offset < unreadable_end && offset + buffer.size() > unreadable_begin) {
            return Status::from_errno(EIO);
        }
        const ByteBuffer& data = content(file);
        if (offset >= data.size()) return std::size_t{0};
        const std::size_t count = std::min<std::size_t>(buffer.size(), data.size() - offset);
        std::memcpy(buffer.data(), data.data() + offset, count);
        return count;
    }
    Result<std::size_t> pwrite(Fd file, Bytes data, std::uint64_t offset) noexcept override {
        const std::size_t count = std::min(data.size(), write_size_max);
        ByteBuffer& bytes = content(file);
        if (bytes.size() < offset + count) bytes.resize(offset + count);
        std::memcpy(bytes.data() + offset, data.data(), count);
        events.push_back({DiskEvent::Kind::write, name_of(file), offset,
                          ByteBuffer(data.begin(), data.begin() + static_cast<long>(count)), 0});
        return count;
    }
    Status truncate(Fd file, std::uint64_t size) noexcept override {
        content(file).resize(size);
        return {};
    }
    Status sync(Fd file, bool) noexcept override {
        if (!sync_result.ok()) return sync_result;
        if (file != kDirectory) events.push_back({DiskEvent::Kind::sync, name_of(file), 0, {}, 0});
        return {};
    }
    Status rename(Fd, std::string_view name, Fd, std::string_view new_name,
                  unsigned) noexcept override {
        files[std::string(new_name)] = files[std::string(name)];
        files.erase(std::string(name));
        for (std::string& open : descriptors_) {
            if (open == name) open = std::string(new_name);
        }
        return {};
    }

    Result<Fd> open_by_handle(Fd, const FileHandle&, int) noexcept override { return none(); }
    Result<FileHandle> handle_of(Fd) noexcept override { return none(); }
    Result<FileSystemStat> stat_file_system(Fd) noexcept override { return none(); }
    Status allocate(Fd, int, std::uint64_t, std::uint64_t) noexcept override { return none(); }
    Result<std::uint64_t> seek(Fd, std::uint64_t, int) noexcept override { return none(); }
    Result<std::size_t> copy_range(Fd, std::uint64_t, Fd, std::uint64_t,
                                   std::size_t) noexcept override {
        return none();
    }
    Status clone(Fd, Fd) noexcept override { return none(); }
    Status sync_file_system(Fd) noexcept override { return none(); }
    Status drop_cache(Fd) noexcept override { return none(); }
    Status make_directory(Fd, std::string_view, mode_t) noexcept override { return none(); }
    Status make_node(Fd, std::string_view, mode_t, std::uint64_t) noexcept override {
        return none();
    }
    Status make_symlink(Fd, std::string_view, Bytes) noexcept override { return none(); }
    Status link(Fd, Fd, std::string_view) noexcept override { return none(); }
    Status unlink(Fd, std::string_view name, bool) noexcept override {
        files.erase(std::string(name));
        return {};
    }
    Result<ByteBuffer> read_link(Fd) noexcept override { return none(); }
    Status read_directory(Fd, std::uint64_t, std::size_t,
                          std::vector<DirectoryEntry>&) noexcept override {
        return none();
    }
    Result<Location> locate(Fd) noexcept override { return none(); }
    Status set_mode(Fd, mode_t) noexcept override { return none(); }
    Status set_owner(Fd, std::uint32_t, std::uint32_t) noexcept override { return none(); }
    Status set_times(Fd, TimeChange, TimeChange) noexcept override { return none(); }
    Result<std::size_t> get_xattr(Fd, std::string_view, MutableBytes) noexcept override {
        return none();
    }
    Status set_xattr(Fd, std::string_view, Bytes, int) noexcept override { return none(); }
    Status remove_xattr(Fd, std::string_view) noexcept override { return none(); }
    Result<std::vector<std::string>> list_xattrs(Fd) noexcept override { return none(); }

   private:
    static Status none() noexcept { return Status::from_errno(ENOSYS); }
    std::string& name_of(Fd file) {
        return descriptors_.at(static_cast<std::size_t>(file.value) - 10);
    }
    ByteBuffer& content(Fd file) { return files[name_of(file)]; }

    std::vector<std::string> descriptors_;
};

class FakeLoop final : public Loop {
   public:
    FakeVfs disk;
    Status next_io;  // the result of the next completion, once
    Prng random{1};

    ~FakeLoop() override {
        while (IoOp* op = flight_.pop_front()) op->on_complete(Status(Code::cancelled), 0);
    }
    // Completes the oldest operation in flight. False: there is none.
    bool step() {
        if (!tasks_.empty()) {
            auto task = std::move(tasks_.front());
            tasks_.pop_front();
            task();
            return true;
        }
        IoOp* op = flight_.pop_front();
        if (op == nullptr) return false;
        Status status = std::exchange(next_io, Status{});
        std::size_t count = 0;
        const auto& io = op->submission;
        if (status.ok() && io.kind == IoOp::Submission::Kind::write) {
            auto written = disk.pwrite(io.file, {io.data, io.size}, io.offset);
            count = written.value();
        } else if (status.ok()) {
            status = disk.sync(io.file, io.data_only);
        }
        op->on_complete(status, count);
        return true;
    }
    void run() {
        while (step()) {
        }
    }
    [[nodiscard]] std::size_t in_flight() const { return flight_.size(); }

    [[nodiscard]] Instant now() const noexcept override { return {}; }
    [[nodiscard]] WallTime wall_time() const noexcept override { return {}; }
    [[nodiscard]] Prng& prng() noexcept override { return random; }
    void secure_random(MutableBytes) noexcept override {}
    [[nodiscard]] Uuid boot_id() noexcept override { return {}; }
    [[nodiscard]] Vfs& vfs() noexcept override { return disk; }
    [[nodiscard]] Network& network() noexcept override { GEMEL_ASSERT(false); }
    void post(std::function<void()> task) noexcept override { tasks_.push_back(std::move(task)); }
    void run_from_any_thread(std::function<void()> task) noexcept override {
        post(std::move(task));
    }
    void offload(Job&) noexcept override { GEMEL_ASSERT(false); }
    void read(IoOp&, Fd, MutableBytes, std::uint64_t) noexcept override { GEMEL_ASSERT(false); }
    void write(IoOp& op, Fd file, Bytes data, std::uint64_t offset) noexcept override {
        op.submission.kind = IoOp::Submission::Kind::write;
        op.submission.data = const_cast<std::byte*>(data.data());
        op.submission.size = data.size();
        op.submission.offset = offset;
        op.submission.file = file;
        flight_.push_back(op);
    }
    void sync(IoOp& op, Fd file, bool data_only) noexcept override {
        op.submission.kind = IoOp::Submission::Kind::sync;
        op.submission.data_only = data_only;
        op.submission.file = file;
        flight_.push_back(op);
    }
    void cancel(IoOp&) noexcept override {}

   protected:
    void start_timer(Timer&, Instant) noexcept override {}
    void cancel_timer(Timer&) noexcept override {}

   private:
    IntrusiveList<IoOp> flight_;
    std::deque<std::function<void()>> tasks_;
};

}  // namespace gemel
