// SPDX-License-Identifier: Apache-2.0
// Opening a volume: private directories, the root's identity, the index, what a crash left behind.
#include "engine/store/directory_volume.hpp"

#include "engine/base/assert.hpp"
#include "engine/base/probe.hpp"
#include "engine/store/volume_impl.hpp"

#include <fcntl.h>
#include <limits>
#include <utility>

namespace gemel {

namespace {

constexpr std::string_view kPrivateName = ".gemel";
constexpr std::size_t kBatch = 256;

// Opens the directory `name` of `parent`, making it where it is missing.
Result<Fd> ensure_directory(Vfs& vfs, Fd parent, std::string_view name) noexcept {
    const Status made = vfs.make_directory(parent, name, 0700);
    if (!made.ok() && !made.is_errno(EEXIST)) return made;
    return vfs.open_at(parent, name, O_RDONLY | O_DIRECTORY | O_NOATIME, 0);
}

// Identity of the root if it is its own, whatever the volume.
Result<Identity> own_identity(Vfs& vfs, Fd root, bool& is_copy) noexcept {
    is_copy = false;
    Result<Identity> identity = read_identity(vfs, root);
    if (!identity.ok()) return identity;
    const Result<FileHandle> handle = vfs.handle_of(root);
    if (!handle.ok()) return handle.status();
    is_copy = handle.value() != identity->handle || identity->object != kRootObject;
    return identity;
}

}  // namespace

Result<std::unique_ptr<DirectoryVolume>> DirectoryVolume::open(Loop& loop, LogSink& log, Fd root,
                                                               const Options& options) noexcept {
    auto volume = std::make_unique<TreeVolume>(loop, log, root, options);
    const Status status = volume->start(options);
    if (!status.ok()) return status;
    return std::unique_ptr<DirectoryVolume>(std::move(volume));
}

Result<Uuid> DirectoryVolume::volume_id_of(Vfs& vfs, Fd root) noexcept {
    bool is_copy = false;
    const Result<Identity> identity = own_identity(vfs, root, is_copy);
    if (!identity.ok()) {
        if (identity.status().code() == Code::not_found) return Uuid{};
        return identity.status().is_errno(EOPNOTSUPP) ? Status(Code::unsupported)
                                                      : identity.status();
    }
    if (is_copy) return Uuid{};
    return identity->volume;
}

TreeVolume::TreeVolume(Loop& loop, LogSink& log, Fd root, const Options& options) noexcept
    : loop_(loop),
      log_(log),
      vfs_(loop.vfs()),
      root_(root),
      cache_(vfs_, options.open_files_max),
      index_(vfs_),
      exclude_(options.exclude) {}

TreeVolume::~TreeVolume() {
    *alive_ = false;
    // Nothing may keep the file system busy from here on.
    vfs_.finish_closing();
    index_.close();
    for (const Fd fd : {root_, private_, orphan_directory_, detached_directory_, incoming_,
                        staging_, file_system_, eviction_sync_, state_directory_}) {
        if (fd.is_open()) vfs_.close(fd);
    }
}

Status TreeVolume::start(const Options& options) noexcept {
    // The descriptor given may update the root's access time; that time is content here.
    const Result<Fd> quiet = vfs_.open_at(root_, ".", O_RDONLY | O_DIRECTORY | O_NOATIME, 0);
    if (!quiet.ok()) return quiet.status();
    vfs_.close(std::exchange(root_, quiet.value()));
    const Result<FileStat> stat = vfs_.stat(root_);
    if (!stat.ok()) return stat.status();
    if (!S_ISDIR(stat->mode)) return Status::from_errno(ENOTDIR);
    device_ = stat->device;
    GEMEL_TRY(take_identity(options));
    GEMEL_TRY(open_private_directories());
    // Making `.gemel` has changed the root's time, which is the volume's content.
    GEMEL_TRY(vfs_.set_times(root_, {true, stat->accessed}, {true, stat->modified}));
    const Result<Fd> state = vfs_.open_directory(options.state_directory);
    if (!state.ok()) return state.status();
    state_directory_ = state.value();
    GEMEL_TRY(open_index());
    staging_removal_.budget = std::numeric_limits<std::size_t>::max();
    GEMEL_TRY(remove_some(staging_, staging_removal_));
    GEMEL_TRY(remove_contents(incoming_));
    return load_orphans();
}

Status TreeVolume::take_identity(const Options& options) noexcept {
    const Result<FileHandle> handle = vfs_.handle_of(root_);
    if (!handle.ok()) {
        return handle.status().is_errno(EOPNOTSUPP) || handle.status().code() == Code::too_large
                   ? Status(Code::unsupported)
                   : handle.status();
    }
    bool is_copy = false;
    const Result<Identity> identity = own_identity(vfs_, root_, is_copy);
    if (identity.ok() && !is_copy) {
        if (!options.volume_id.is_none() && identity->volume != options.volume_id) {
            return Status(Code::foreign);
        }
        volume_id_ = identity->volume;
        return Status();
    }
    if (!identity.ok() && identity.status().code() != Code::not_found) {
        return identity.status().is_errno(EOPNOTSUPP) ? Status(Code::unsupported)
                                                      : identity.status();
    }
    if (options.volume_id.is_none()) return Status(Code::refused);
    volume_id_ = options.volume_id;
    was_restored_ = identity.ok() && identity->volume == volume_id_;
    is_new_ = !identity.ok();
    const Status written =
        write_identity(vfs_, root_, Identity{volume_id_, kRootObject, handle.value()});
    if (written.is_errno(EOPNOTSUPP)) return Status(Code::unsupported);
    GEMEL_TRY(written);
    // Durable before any object of the volume is: a root without an identity means a tree without.
    return vfs_.sync(root_, false);
}

Status TreeVolume::open_private_directories() noexcept {
    const Result<Fd> own = ensure_directory(vfs_, root_, kPrivateName);
    if (!own.ok()) return own.status();
    private_ = own.value();
    const std::pair<std::string_view, Fd*> directories[] = {{"orphans", &orphan_directory_},
                                                            {kDetachedName, &detached_directory_},
                                                            {"incoming", &incoming_},
                                                            {"staging", &staging_}};
    for (const auto& [name, fd] : directories) {
        const Result<Fd> directory = ensure_directory(vfs_, private_, name);
        if (!directory.ok()) return directory.status();
        *fd = directory.value();
    }
    for (Fd* fd : {&file_system_, &eviction_sync_}) {
        const Result<Fd> opened = vfs_.open_at(root_, ".", O_RDONLY | O_DIRECTORY, 0);
        if (!opened.ok()) return opened.status();
        *fd = opened.value();
    }
    hidden_directory_count_ = 1;
    const Result<FileStat> lost = vfs_.stat_at(root_, "lost+found");
    if (lost.ok() && S_ISDIR(lost->mode)) ++hidden_directory_count_;
    return Status();
}

Result<ScopedFd> TreeVolume::private_directory(std::string_view name, bool make) noexcept {
    const Result<Fd> directory =
        make ? ensure_directory(vfs_, private_, name)
             : vfs_.open_at(private_, name, O_RDONLY | O_DIRECTORY | O_NOATIME, 0);
    if (!make && directory.status().is_errno(ENOENT)) return Code::not_found;
    if (!directory.ok()) return directory.status();
    return ScopedFd(vfs_, directory.value());
}

Status TreeVolume::open_index() noexcept {
    GEMEL_TRY(index_.open(state_directory_, volume_id_, loop_.boot_id()));
    if (!index_.may_lack_records()) return Status();
    return is_new_ ? index_.mark_complete() : rebuild_index();
}

// Orphans of an earlier run stay until the owner empties the directory: it may have their handles.
Status TreeVolume::load_orphans() noexcept {
    std::vector<DirectoryEntry> entries;
    std::uint64_t position = 0;
    for (;;) {
        entries.clear();
        GEMEL_TRY(vfs_.read_directory(orphan_directory_, position, kBatch, entries));
        if (entries.empty()) return Status();
        for (const DirectoryEntry& entry : entries) {
            const Result<Found> found = find_at(orphan_directory_, entry.name);
            if (found.ok() && !found->id.is_none()) orphans_.insert(found->id);
        }
        position = entries.back().next;
    }
}

Status TreeVolume::adopt_volume_id(const Uuid& id) noexcept {
    GEMEL_ASSERT(!id.is_none());
    if (id == volume_id_) return Status();
    const Result<FileHandle> handle = vfs_.handle_of(root_);
    if (!handle.ok()) return handle.status();
    // The identity is the act: from here on no other object of the tree has a valid id.
    GEMEL_TRY(write_identity(vfs_, root_, Identity{id, kRootObject, handle.value()}));
    GEMEL_TRY(vfs_.sync(root_, false));
    volume_id_ = id;
    cache_.forget_all();
    orphans_.clear();
    new_names_.clear();
    places_.clear();
    was_restored_ = false;
    is_new_ = false;
    return open_index();
}

Result<bool> TreeVolume::is_empty() noexcept {
    std::vector<DirectoryEntry> entries;
    std::uint64_t position = 0;
    for (;;) {
        entries.clear();
        GEMEL_TRY(vfs_.read_directory(root_, position, kBatch, entries));
        if (entries.empty()) return true;
        for (const DirectoryEntry& entry : entries) {
            if (is_hidden(kRootObject, entry.name)) continue;
            const Result<FileStat> stat = vfs_.stat_at(root_, entry.name);
            if (!stat.ok()) return stat.status();
            if (!exclude_.excludes(exclude_.root(), entry.name, S_ISDIR(stat->mode))) return false;
        }
        position = entries.back().next;
    }
}

Status TreeVolume::empty_directory(ObjectId directory) noexcept {
    GEMEL_ASSERT(is_private(directory));
    begin_call();
    if (directory == kOrphanDirectory) {
        for (const ObjectId id : orphans_) object_gone(id);
        orphans_.clear();
    }
    const Status removed = remove_contents(fixed_fd(directory));
    cache_.forget_if([this](Fd fd) {
        const Result<FileStat> stat = vfs_.stat(fd);
        return !stat.ok() || stat->link_count == 0;
    });
    return removed;
}

}  // namespace gemel
