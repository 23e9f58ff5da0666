// SPDX-License-Identifier: Apache-2.0
// Descriptors, content and durability.
#include "engine/io/sim/vfs.hpp"

#include "engine/base/assert.hpp"
#include "engine/io/sim/loop.hpp"
#include "engine/io/sim/node.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>

namespace gemel::sim {

namespace {

constexpr int kFirstFd = 3;
constexpr std::int32_t kHandleType = 1;  // FILEID_INO32_GEN, as ext4 gives it

Status error(int number) noexcept { return Status::from_errno(number); }

bool is_path_only(int flags) noexcept { return (flags & O_PATH) != 0; }
bool can_read(int flags) noexcept {
    return (flags & O_ACCMODE) != O_WRONLY && !is_path_only(flags);
}
bool can_write(int flags) noexcept {
    return (flags & O_ACCMODE) != O_RDONLY && !is_path_only(flags);
}

}  // namespace

SimVfs::SimVfs(SimLoop& loop) noexcept : loop_(loop), node_(loop.node()) {}

SimVfs::~SimVfs() { GEMEL_ASSERT(open_count_ == 0); }

WallTime SimVfs::now() const noexcept { return node_.wall_now(); }

// --- Every call ----------------------------------------------------------------------------------

void SimVfs::die_at_call(std::uint64_t n, bool power) noexcept {
    calls_left_ = n;
    dies_of_power_ = power;
}

bool SimVfs::count_call(VfsCall call, std::uint64_t inode) noexcept {
    if (!loop_.is_alive()) return false;
    ++call_count_;
    node_.world().note(loop_.owner(), EventKind::vfs,
                       (inode << 8) | static_cast<std::uint64_t>(call));
    if (calls_left_ != 0 && --calls_left_ == 0) {
        dies_of_power_ ? node_.power_cut() : node_.kill_process();
        return false;
    }
    return true;
}

VfsFault SimVfs::fault_of(const VfsFaultPoint& point) noexcept {
    FaultPolicy* policy = node_.fault_policy();
    return policy == nullptr ? VfsFault() : policy->before(point);
}

SimVfs::OpenFile* SimVfs::find(Fd file) noexcept {
    const auto index = static_cast<std::size_t>(file.value - kFirstFd);
    if (file.value < kFirstFd || index >= files_.size()) return nullptr;
    return files_[index].file_system == nullptr ? nullptr : &files_[index];
}

Result<SimVfs::OpenFile*> SimVfs::enter(VfsCall call, Fd file, Transfer transfer) noexcept {
    OpenFile* open = find(file);
    const std::uint64_t number = open == nullptr ? 0 : open->inode->number;
    if (!count_call(call, number)) return Code::cancelled;
    if (open == nullptr) return error(EBADF);
    const VfsFault fault =
        fault_of({call, open->file_system, number, transfer.offset, transfer.size});
    if (fault.error != 0) return error(fault.error);
    return open;
}

Result<SimVfs::OpenFile*> SimVfs::enter_transfer(VfsCall call, Fd file,
                                                 Transfer& transfer) noexcept {
    OpenFile* open = find(file);
    const std::uint64_t number = open == nullptr ? 0 : open->inode->number;
    if (!count_call(call, number)) return Code::cancelled;
    if (open == nullptr) return error(EBADF);
    const bool allowed = call == VfsCall::read ? can_read(open->flags) : can_write(open->flags);
    if (!allowed) return error(EBADF);
    if (open->inode->directory != nullptr) return error(EISDIR);
    const bool has_blocks = open->inode->logical_block != 0;
    if (!S_ISREG(open->inode->meta.mode) && !has_blocks) return error(ESPIPE);
    if (transfer.offset > INT64_MAX) return error(EINVAL);
    const VfsFault fault =
        fault_of({call, open->file_system, number, transfer.offset, transfer.size});
    if (fault.error != 0) return error(fault.error);
    // A device moves whole blocks, or fails.
    if (fault.size_max != 0 && !has_blocks) {
        transfer.size = std::min(transfer.size, fault.size_max);
    }
    return open;
}

// --- Descriptors ---------------------------------------------------------------------------------

Result<Fd> SimVfs::add(FileSystem& file_system, Inode& inode, int flags) noexcept {
    if (open_count_ >= kOpenFilesMax) return error(EMFILE);
    int value = kFirstFd + static_cast<int>(files_.size());
    if (free_.empty()) {
        files_.emplace_back();
    } else {
        value = free_.back();
        free_.pop_back();
    }
    files_[static_cast<std::size_t>(value - kFirstFd)] = {&file_system, &inode, flags};
    file_system.opened(inode);
    ++open_count_;
    return Fd{value};
}

Result<Fd> SimVfs::open_inode(FileSystem& file_system, Inode& inode, int flags) noexcept {
    const std::uint32_t type = inode.meta.mode & S_IFMT;
    if ((flags & O_DIRECTORY) != 0 && type != S_IFDIR) return error(ENOTDIR);
    if (is_path_only(flags)) return add(file_system, inode, O_PATH);
    if (type == S_IFLNK) return error(ELOOP);
    const bool is_device = type == S_IFBLK && inode.logical_block != 0;
    if (type == S_IFSOCK || type == S_IFCHR || (type == S_IFBLK && !is_device)) return error(ENXIO);
    if (is_device && (flags & O_EXCL) != 0) {
        if (inode.is_claimed) return error(EBUSY);
        auto claimed = add(file_system, inode, flags);
        inode.is_claimed = claimed.ok();
        return claimed;
    }
    if (type == S_IFDIR && can_write(flags)) return error(EISDIR);
    if (type == S_IFREG && (flags & O_TRUNC) != 0 && can_write(flags)) {
        GEMEL_TRY(file_system.truncate(inode, 0, now()));
    }
    return add(file_system, inode, flags);
}

Result<Fd> SimVfs::open_directory(std::string_view absolute_path) noexcept {
    if (!count_call(VfsCall::open, 0)) return Code::cancelled;
    GEMEL_ASSERT(absolute_path.starts_with('/'));
    const Node::Place place = node_.find(absolute_path);
    const VfsFault fault = fault_of({VfsCall::open, place.file_system, 0, 0, 0});
    if (fault.error != 0) return error(fault.error);
    Inode* at = &place.file_system->root();
    std::string_view path = place.path;
    while (!path.empty()) {
        const std::string_view name = path.substr(0, path.find('/'));
        path.remove_prefix(std::min(path.size(), name.size() + 1));
        if (name.empty() || name == ".") continue;
        auto next = place.file_system->lookup(*at, name);
        if (!next.ok()) return next.status();
        at = next.value();
    }
    if (at->directory == nullptr) return error(S_ISLNK(at->meta.mode) ? ELOOP : ENOTDIR);
    return add(*place.file_system, *at, O_RDONLY | O_DIRECTORY);
}

Result<Fd> SimVfs::create(OpenFile& directory, std::string_view name, int flags,
                          mode_t mode) noexcept {
    FileSystem& file_system = *directory.file_system;
    auto made = file_system.make(*directory.inode, name, {S_IFREG | (mode & 07777U), 0, {}}, now());
    if (!made.ok()) return made.status();
    return add(file_system, *made.value(), flags & ~O_TRUNC);
}

Result<Fd> SimVfs::open_at(Fd directory, std::string_view name, int flags, mode_t mode) noexcept {
    auto entered = enter(VfsCall::open, directory);
    if (!entered.ok()) return entered.status();
    OpenFile& open = *entered.value();
    FileSystem& file_system = *open.file_system;
    if (open_count_ >= kOpenFilesMax) return error(EMFILE);
    if ((flags & O_TMPFILE) == O_TMPFILE && !is_path_only(flags)) {
        if (!can_write(flags)) return error(EINVAL);
        auto place = file_system.lookup(*open.inode, name);
        if (!place.ok()) return place.status();
        auto made = file_system.make_unnamed(*place.value(), mode, (flags & O_EXCL) == 0, now());
        if (!made.ok()) return made.status();
        return add(file_system, *made.value(), flags & ~O_TMPFILE);
    }
    auto found = file_system.lookup(*open.inode, name);
    const bool creates = (flags & O_CREAT) != 0 && !is_path_only(flags);
    if (!found.ok()) {
        if (!creates || !found.status().is_errno(ENOENT) || name.empty()) return found.status();
        return create(open, name, flags, mode);
    }
    if (creates && (flags & O_EXCL) != 0) return error(EEXIST);
    if (creates && found.value()->directory != nullptr) return error(EISDIR);
    return open_inode(file_system, *found.value(), flags);
}

Result<Fd> SimVfs::open_by_handle(Fd root, const FileHandle& handle, int flags) noexcept {
    auto entered = enter(VfsCall::open, root);
    if (!entered.ok()) return entered.status();
    FileSystem& file_system = *entered.value()->file_system;
    if (!file_system.options().has_handles) return error(EOPNOTSUPP);
    if (handle.type != kHandleType || handle.size != 8) return error(ESTALE);
    std::uint32_t words[2];
    std::memcpy(words, handle.bytes.data(), sizeof words);
    Inode* inode = file_system.find(words[0], words[1]);
    if (inode == nullptr) return error(ESTALE);
    return open_inode(file_system, *inode, flags);
}

Result<FileHandle> SimVfs::handle_of(Fd file) noexcept {
    auto entered = enter(VfsCall::handle, file);
    if (!entered.ok()) return entered.status();
    const OpenFile& open = *entered.value();
    if (!open.file_system->options().has_handles) return error(EOPNOTSUPP);
    FileHandle handle;
    handle.type = kHandleType;
    handle.size = 8;
    const std::uint32_t words[2] = {static_cast<std::uint32_t>(open.inode->number),
                                    open.inode->generation};
    std::memcpy(handle.bytes.data(), words, sizeof words);
    return handle;
}

void SimVfs::close(Fd file) noexcept {
    OpenFile* open = find(file);
    if (!count_call(VfsCall::close, open == nullptr ? 0 : open->inode->number)) return;
    GEMEL_ASSERT(open != nullptr);  // closed twice: somebody else's descriptor next time
    let_go(*open);
    *open = {};
    free_.push_back(file.value);
    --open_count_;
}

void SimVfs::let_go(OpenFile& open) noexcept {
    if ((open.flags & O_EXCL) != 0) open.inode->is_claimed = false;
    open.file_system->closed(*open.inode);
}

// A few stay open, so that what a removed file held is not back when it is wanted.
void SimVfs::close_later(Fd file) noexcept {
    constexpr std::size_t kKept = 2;
    if (find(file) == nullptr) return;  // killed
    closed_later_.push_back(file);
    --open_count_;
    if (closed_later_.size() > kKept) close_oldest();
}

bool SimVfs::finish_closing() noexcept {
    const bool had_some = !closed_later_.empty();
    while (!closed_later_.empty()) close_oldest();
    return had_some;
}

void SimVfs::close_oldest() noexcept {
    const Fd oldest = closed_later_.front();
    closed_later_.erase(closed_later_.begin());
    ++open_count_;
    close(oldest);  // may be where the process dies
}

void SimVfs::release_all() noexcept {
    closed_later_.clear();
    for (OpenFile& open : files_) {
        if (open.file_system != nullptr) let_go(open);
    }
    files_.clear();
    free_.clear();
    open_count_ = 0;
}

bool SimVfs::is_pipe(Fd file) const noexcept {
    const auto index = static_cast<std::size_t>(file.value - kFirstFd);
    if (file.value < kFirstFd || index >= files_.size()) return false;
    return files_[index].inode != nullptr && S_ISFIFO(files_[index].inode->meta.mode);
}

// --- Content -------------------------------------------------------------------------------------

Result<std::size_t> SimVfs::pread(Fd file, MutableBytes buffer, std::uint64_t offset) noexcept {
    Transfer transfer{offset, buffer.size()};
    auto entered = enter_transfer(VfsCall::read, file, transfer);
    if (!entered.ok()) return entered.status();
    OpenFile& open = *entered.value();
    return open.file_system->read(*open.inode, buffer.first(transfer.size), offset);
}

Result<std::size_t> SimVfs::pwrite(Fd file, Bytes data, std::uint64_t offset) noexcept {
    Transfer transfer{offset, data.size()};
    auto entered = enter_transfer(VfsCall::write, file, transfer);
    if (!entered.ok()) return entered.status();
    OpenFile& open = *entered.value();
    // Linux appends whatever the offset says (pwrite(2), BUGS).
    if ((open.flags & O_APPEND) != 0) offset = open.inode->data.size;
    auto written = open.file_system->write(*open.inode, data.first(transfer.size), offset, now());
    if (written.ok() && (open.flags & O_DSYNC) != 0) open.file_system->sync(*open.inode);
    return written;
}

Status SimVfs::truncate(Fd file, std::uint64_t size) noexcept {
    auto entered = enter(VfsCall::truncate, file, {size, 0});
    if (!entered.ok()) return entered.status();
    OpenFile& open = *entered.value();
    if (is_path_only(open.flags)) return error(EBADF);
    if (!can_write(open.flags) || !S_ISREG(open.inode->meta.mode)) return error(EINVAL);
    return open.file_system->truncate(*open.inode, size, now());
}

Status SimVfs::allocate(Fd file, int mode, std::uint64_t offset, std::uint64_t size) noexcept {
    auto entered = enter(VfsCall::allocate, file, {offset, size});
    if (!entered.ok()) return entered.status();
    OpenFile& open = *entered.value();
    if (!can_write(open.flags)) return error(EBADF);
    if (!S_ISREG(open.inode->meta.mode) && open.inode->logical_block == 0) return error(ENODEV);
    return open.file_system->allocate(*open.inode, mode, offset, size, now());
}

Result<std::uint64_t> SimVfs::seek(Fd file, std::uint64_t offset, int whence) noexcept {
    auto entered = enter(VfsCall::seek, file, {offset, 0});
    if (!entered.ok()) return entered.status();
    const OpenFile& open = *entered.value();
    if (is_path_only(open.flags)) return error(EBADF);
    return open.file_system->seek(*open.inode, offset, whence);
}

Result<std::size_t> SimVfs::copy_range(Fd source, std::uint64_t source_offset, Fd target,
                                       std::uint64_t target_offset, std::size_t size) noexcept {
    auto entered = enter(VfsCall::copy, target, {target_offset, size});
    if (!entered.ok()) return entered.status();
    OpenFile& to = *entered.value();
    OpenFile* from = find(source);
    if (from == nullptr || !can_read(from->flags) || !can_write(to.flags)) return error(EBADF);
    if ((to.flags & O_APPEND) != 0) return error(EBADF);
    if (from->inode->directory != nullptr) return error(EISDIR);
    if (!S_ISREG(from->inode->meta.mode) || !S_ISREG(to.inode->meta.mode)) return error(EINVAL);
    if (from->file_system != to.file_system) return error(EXDEV);
    const bool apart =
        source_offset + size <= target_offset || target_offset + size <= source_offset;
    if (from->inode == to.inode && !apart) return error(EINVAL);
    ByteBuffer buffer(std::min<std::size_t>(size, kMiB));
    auto got = from->file_system->read(*from->inode, buffer, source_offset);
    if (!got.ok() || got.value() == 0) return got;
    return to.file_system->write(*to.inode, Bytes(buffer).first(got.value()), target_offset, now());
}

// A shared extent is copied: what it costs is none of what the simulation looks at.
Status SimVfs::clone(Fd source, Fd target) noexcept {
    auto entered = enter(VfsCall::copy, target, {});
    if (!entered.ok()) return entered.status();
    OpenFile& to = *entered.value();
    OpenFile* from = find(source);
    if (from == nullptr || !can_read(from->flags) || !can_write(to.flags)) return error(EBADF);
    if (!S_ISREG(from->inode->meta.mode) || !S_ISREG(to.inode->meta.mode)) return error(EINVAL);
    if (from->file_system != to.file_system) return error(EXDEV);
    FileSystem& files = *to.file_system;
    GEMEL_TRY(files.truncate(*to.inode, 0, now()));
    const std::uint64_t size = from->inode->data.size;
    ByteBuffer buffer(256 * kKiB);
    for (std::uint64_t at = 0; at < size;) {
        const auto data = files.seek(*from->inode, at, SEEK_DATA);
        if (!data.ok()) break;
        const auto hole = files.seek(*from->inode, data.value(), SEEK_HOLE);
        if (!hole.ok()) return hole.status();
        const std::uint64_t length =
            std::min<std::uint64_t>(hole.value() - data.value(), buffer.size());
        const auto got = files.read(*from->inode, MutableBytes(buffer).first(length), data.value());
        if (!got.ok()) return got.status();
        const auto put =
            files.write(*to.inode, Bytes(buffer).first(got.value()), data.value(), now());
        if (!put.ok()) return put.status();
        if (put.value() != got.value()) return error(ENOSPC);
        at = data.value() + got.value();
    }
    return files.truncate(*to.inode, size, now());
}

// --- Durability ----------------------------------------------------------------------------------

Status SimVfs::sync_as(VfsCall call, Fd file) noexcept {
    OpenFile* open = find(file);
    const std::uint64_t number = open == nullptr ? 0 : open->inode->number;
    if (!count_call(call, number)) return Status(Code::cancelled);
    if (open == nullptr || is_path_only(open->flags)) return error(EBADF);
    const bool whole = call == VfsCall::sync_file_system;
    const VfsFault fault = fault_of({call, open->file_system, number, 0, 0});
    if (fault.error == 0 && !fault.lose_pages) {
        whole ? open->file_system->sync_all() : open->file_system->sync(*open->inode);
        return {};
    }
    if (fault.lose_pages) {
        whole ? open->file_system->fail_sync_all() : open->file_system->fail_sync(*open->inode);
    }
    return fault.error == 0 ? Status() : error(fault.error);
}

Status SimVfs::sync(Fd file, bool /*data_only*/) noexcept { return sync_as(VfsCall::sync, file); }

Status SimVfs::sync_file_system(Fd file) noexcept {
    return sync_as(VfsCall::sync_file_system, file);
}

Status SimVfs::drop_cache(Fd file) noexcept {
    auto entered = enter(VfsCall::drop_cache, file);
    if (!entered.ok()) return entered.status();
    entered.value()->file_system->evict_lost_pages(*entered.value()->inode);
    return {};
}

}  // namespace gemel::sim
