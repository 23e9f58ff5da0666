// SPDX-License-Identifier: Apache-2.0
#include "frontends/fuse/mount.hpp"

#include "engine/base/probe.hpp"
#include "frontends/fuse/dev_fuse_transport.hpp"

#include <climits>
#include <cstdlib>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace gemel {

namespace {

constexpr const char* kFuseType = "fuse.gemel";
constexpr const char* kGuardType = "tmpfs";

std::string real_path(const std::string& path) {
    char resolved[PATH_MAX];
    return ::realpath(path.c_str(), resolved) == nullptr ? path : std::string(resolved);
}

Status refuse(std::string sentence, std::string& why) {
    why = std::move(sentence);
    return Status(Code::refused);
}

Status make_directories(const std::string& path) {
    for (std::size_t at = 1; at != std::string::npos;) {
        at = path.find('/', at + 1);
        const std::string part = path.substr(0, at);
        if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) return Status::from_errno(errno);
    }
    return {};
}

unsigned long same_restrictions(const std::string& path) {
    struct statvfs info {};
    if (::statvfs(path.c_str(), &info) != 0) return 0;
    unsigned long flags = 0;
    if ((info.f_flag & ST_NOSUID) != 0) flags |= MS_NOSUID;
    if ((info.f_flag & ST_NODEV) != 0) flags |= MS_NODEV;
    if ((info.f_flag & ST_NOEXEC) != 0) flags |= MS_NOEXEC;
    return flags;
}

// False: errno says why.
bool write_control(const std::string& path, std::string_view text) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const ssize_t written = ::write(fd, text.data(), text.size());
    const int error = errno;
    ::close(fd);
    errno = error;
    return written == static_cast<ssize_t>(text.size());
}

// In the child of a fork; reports an errno (0: done) and ends. System calls only: other threads
// may have held any lock.
[[noreturn]] void write_back_and_report(const char* path, int report) noexcept {
    constexpr int kReport = 3;
    int error = 0;
    // The copies of the devices' descriptors above all: they would keep the connections alive.
    if (::dup2(report, kReport) != kReport || ::close_range(kReport + 1, ~0U, 0) != 0) ::_exit(1);
    const int fd = ::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || ::syncfs(fd) != 0) error = errno;
    if (::write(kReport, &error, sizeof error) != sizeof error) ::_exit(1);
    ::_exit(0);
}

// Of any mirror, whichever daemon made it.
bool is_gemel(const MountEntry& entry) {
    return entry.type == kFuseType || entry.source.starts_with("gemel-guard:");
}

std::string mirror_of(const MountEntry& entry) {
    return entry.source.substr(entry.source.find(':') + 1);
}

}  // namespace

VolumeMount::VolumeMount(LogSink& log, Options options)
    : log_(log),
      options_(std::move(options)),
      path_(options_.path),
      tree_root_(options_.run_directory + "/tree"),
      tree_path_(tree_root_ + "/" + options_.mirror + "/" + std::to_string(options_.index)) {}

Status VolumeMount::failed(const std::string& what, std::string& why) const {
    const Status status = Status::from_errno(errno);
    why = "cannot " + what + ": " + status.to_string();
    return status;
}

bool VolumeMount::is_guard(const MountEntry& entry) const noexcept {
    return entry.type == kGuardType && entry.source == guard_source();
}

bool VolumeMount::is_fuse(const MountEntry& entry) const noexcept {
    return entry.type == kFuseType && entry.source == fuse_source();
}

Result<VolumeMount::Top> VolumeMount::top(std::string& why) noexcept {
    const Result<std::vector<MountEntry>> mounts = read_mount_table();
    if (!mounts.ok()) {
        why = "cannot read the mount table: " + mounts.status().to_string();
        return mounts.status();
    }
    const std::vector<MountEntry> layers = layers_at(mounts.value(), path_);
    if (layers.empty()) return Top::other;
    if (is_fuse(layers.back())) return Top::fuse;
    return is_guard(layers.back()) ? Top::guard : Top::other;
}

// The parent without symbolic links; the last component is not looked at (it may be a dead mount).
Status VolumeMount::resolve_path(std::string& why) noexcept {
    std::string path = options_.path;
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    const std::size_t slash = path.rfind('/');
    if (path.empty() || path.front() != '/' || path == "/") {
        return refuse(
            "'" + options_.path + "' cannot be mirrored: an absolute path below / is needed", why);
    }
    const std::string name = path.substr(slash + 1);
    if (name == "." || name == "..") return refuse("'" + path + "' must not end in " + name, why);
    char resolved[PATH_MAX];
    const std::string parent = slash == 0 ? "/" : path.substr(0, slash);
    if (::realpath(parent.c_str(), resolved) == nullptr) {
        return refuse("'" + options_.path + "' cannot be mirrored: '" + parent +
                          "': " + Status::from_errno(errno).to_string(),
                      why);
    }
    path_ = std::string(resolved) == "/" ? "/" + name : std::string(resolved) + "/" + name;
    return {};
}

Status VolumeMount::check_place(const std::vector<MountEntry>& mounts, std::string& why) noexcept {
    const std::string state = real_path(options_.state_directory);
    const std::string run = real_path(options_.run_directory);
    if (is_inside(state, path_) || is_inside(path_, state)) {
        return refuse("'" + path_ + "' cannot be mirrored: it and the state directory '" + state +
                          "' must not lie inside each other",
                      why);
    }
    if (is_inside(run, path_) || is_inside(path_, run)) {
        return refuse("'" + path_ + "' cannot be mirrored: it and the run directory '" + run +
                          "' must not lie inside each other",
                      why);
    }
    for (const MountEntry& entry : mounts) {
        if (entry.target == path_) continue;
        if (is_inside(entry.target, path_)) {
            return refuse("'" + path_ + "' cannot be mirrored: '" + entry.target +
                              "' inside it is a mount of " + entry.source +
                              ", which a mirror cannot hold: unmount it, or give it a directory "
                              "of its own in the configuration",
                          why);
        }
        if (is_gemel(entry) && is_inside(path_, entry.target)) {
            return refuse("'" + path_ + "' cannot be mirrored: it lies inside '" + entry.target +
                              "', which belongs to mirror '" + mirror_of(entry) + "'",
                          why);
        }
    }
    const std::vector<MountEntry> layers = layers_at(mounts, path_);
    for (const MountEntry& entry : layers) {
        if (!is_gemel(entry) || is_guard(entry) || is_fuse(entry)) continue;
        return refuse("'" + path_ + "' is part of another mirror, '" + mirror_of(entry) +
                          "': 'gemel stop' and 'gemel release' that one first, and take it out of "
                          "the configuration",
                      why);
    }
    return {};
}

// Requires: the path is not covered.
Status VolumeMount::check_directory(std::string& why) noexcept {
    struct stat info {};
    if (::lstat(path_.c_str(), &info) != 0) {
        const Status status = Status::from_errno(errno);
        const std::string what = errno == ENOENT
                                     ? "it does not exist; make it, or correct 'directories'"
                                     : status.to_string();
        return refuse("'" + path_ + "' cannot be mirrored: " + what, why);
    }
    if (S_ISLNK(info.st_mode)) {
        return refuse("'" + path_ + "' cannot be mirrored: it is a symbolic link; name the " +
                          "directory that it leads to",
                      why);
    }
    if (!S_ISDIR(info.st_mode)) {
        return refuse(
            "'" + path_ + "' cannot be mirrored: it is not a directory; name the one it is in",
            why);
    }
    if (::lgetxattr(path_.c_str(), "trusted.gemel.id", nullptr, 0) < 0 && errno == EOPNOTSUPP) {
        why = "'" + path_ + "' cannot be mirrored: its file system has no trusted. extended " +
              "attributes; ext4, XFS and Btrfs, for example, have them";
        return Status(Code::unsupported);
    }
    return {};
}

Status VolumeMount::check(std::string& why) noexcept {
    GEMEL_TRY(resolve_path(why));
    const Result<std::vector<MountEntry>> mounts = read_mount_table();
    if (!mounts.ok()) {
        why = "cannot read the mount table: " + mounts.status().to_string();
        return mounts.status();
    }
    GEMEL_TRY(check_place(mounts.value(), why));
    const Result<Top> shown = top(why);
    if (!shown.ok()) return shown.status();
    return shown.value() == Top::other ? check_directory(why) : Status();
}

Status VolumeMount::prepare(std::string& why) noexcept {
    GEMEL_ASSERT(!is_fuse_mounted());
    GEMEL_TRY(check(why));
    const Result<Top> shown = top(why);
    if (!shown.ok()) return shown.status();
    const bool covered = shown.value() != Top::other;
    GEMEL_TRY(prepare_tree(covered, why));
    if (shown.value() == Top::fuse) {
        GEMEL_PROBE("fuse: dead mount of an earlier process replaced");
        GEMEL_TRY(detach_fuse(why));
    }
    GEMEL_TRY(cover(why));
    if (!covered) early_ = find_file_users(path_);
    return {};
}

Status VolumeMount::prepare_tree(bool covered, std::string& why) noexcept {
    if (const Status made = make_directories(tree_root_); !made.ok()) {
        why = "cannot make '" + tree_root_ + "': " + made.to_string();
        return made;
    }
    tree_root_ = real_path(tree_root_);
    tree_path_ = tree_root_ + "/" + options_.mirror + "/" + std::to_string(options_.index);
    GEMEL_TRY(make_private_root(why));
    if (const Status made = make_directories(tree_path_); !made.ok()) {
        why = "cannot make '" + tree_path_ + "': " + made.to_string();
        return made;
    }
    const Result<std::vector<MountEntry>> mounts = read_mount_table();
    if (!mounts.ok()) return mounts.status();
    if (!layers_at(mounts.value(), tree_path_).empty()) {
        // Looked at once: it is no other one later, and a look below the cover takes its time.
        is_tree_known_ = is_tree_known_ || tree_is_path(covered);
        if (is_tree_known_) return {};
        GEMEL_PROBE("fuse: stale bind of another directory replaced");
        if (::umount2(tree_path_.c_str(), MNT_DETACH) != 0) {
            return failed("unmount '" + tree_path_ + "'", why);
        }
    }
    return attach_tree(covered, why);
}

// The bind may be of another directory: of a configuration that was refused, or of a file system
// that has been mounted anew since.
bool VolumeMount::tree_is_path(bool covered) noexcept {
    struct stat tree {
    }, path{};
    int result = -1;
    if (covered) {
        const int bare = open_below();
        if (bare < 0) return true;  // what there is has to do; whose it is, its volume id says
        result = ::fstat(bare, &path);
        ::close(bare);
    } else {
        result = ::lstat(path_.c_str(), &path);
    }
    return result == 0 && ::lstat(tree_path_.c_str(), &tree) == 0 && tree.st_dev == path.st_dev &&
           tree.st_ino == path.st_ino;
}

// RUN/tree is a mount of its own whose propagation is private, so that no other namespace sees the
// bare trees and nothing mounted over a volume is mounted over its bind too.
Status VolumeMount::make_private_root(std::string& why) noexcept {
    const Result<std::vector<MountEntry>> mounts = read_mount_table();
    if (!mounts.ok()) return mounts.status();
    if (!layers_at(mounts.value(), tree_root_).empty()) return {};
    const char* root = tree_root_.c_str();
    if (::mount(root, root, nullptr, MS_BIND, nullptr) != 0) {
        return failed("make '" + tree_root_ + "' a mount", why);
    }
    if (::mount(nullptr, root, nullptr, MS_PRIVATE, nullptr) != 0) {
        return failed("make '" + tree_root_ + "' private", why);
    }
    return {};
}

Status VolumeMount::attach_tree(bool covered, std::string& why) noexcept {
    const int bare = covered
                         ? open_below()
                         : ::open_tree(AT_FDCWD, path_.c_str(),
                                       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
    if (bare < 0) return failed("reach the directory '" + path_ + "'", why);
    struct mount_attr attributes {};
    attributes.propagation = MS_PRIVATE;
    Status status;
    if (::mount_setattr(bare, "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0) {
        status = failed("make the bind of '" + path_ + "' private", why);
    } else if (::move_mount(bare, "", AT_FDCWD, tree_path_.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
        status = failed("bind '" + path_ + "' to '" + tree_path_ + "'", why);
    }
    ::close(bare);
    return status;
}

// A detached mount of what lies below our layers, or -1 and errno. The layers are taken away in a
// mount namespace of a thread's own, so that the path shows the bare directory to nobody else.
int VolumeMount::open_below() noexcept {
    struct Errand {
        VolumeMount* self;
        int fd = -1;
        int error = 0;
    } errand{this};
    const auto body = [](void* argument) noexcept -> void* {
        Errand& mine = *static_cast<Errand*>(argument);
        VolumeMount& self = *mine.self;
        const char* path = self.path_.c_str();
        std::string why;
        bool ok = ::unshare(CLONE_NEWNS) == 0 &&
                  ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
        for (int layers = 0; ok && layers < 64; ++layers) {
            const Result<Top> shown = self.top(why);
            if (!shown.ok() || shown.value() == Top::other) break;
            ok = ::umount2(path, MNT_DETACH) == 0;
        }
        if (ok) {
            mine.fd = ::open_tree(AT_FDCWD, path,
                                  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
        }
        mine.error = errno;
        return nullptr;
    };
    pthread_t thread{};
    const int error = ::pthread_create(&thread, nullptr, body, &errand);
    if (error != 0) {
        errno = error;
        return -1;
    }
    ::pthread_join(thread, nullptr);
    GEMEL_PROBE("fuse: bare directory reached below its cover");
    errno = errand.error;
    return errand.fd;
}

Status VolumeMount::cover(std::string& why) noexcept {
    const Result<Top> shown = top(why);
    if (!shown.ok()) return shown.status();
    if (shown.value() == Top::guard) return {};
    const unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (::mount(guard_source().c_str(), path_.c_str(), kGuardType, flags, "size=4k,mode=0555") !=
        0) {
        return failed("cover '" + path_ + "'", why);
    }
    return {};
}

Result<int> VolumeMount::mount_fuse(bool read_only, std::string& why) noexcept {
    GEMEL_ASSERT(!is_fuse_mounted());
    GEMEL_TRY(cover(why));  // somebody may have unmounted it by hand
    const int device = ::open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (device < 0) return failed("open /dev/fuse", why);
    const std::string options =
        "fd=" + std::to_string(device) +
        ",rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other,max_read=" +
        std::to_string(DevFuseTransport::kDataSizeMax);
    unsigned long flags = MS_NOATIME | same_restrictions(tree_path_);
    if (read_only) flags |= MS_RDONLY;
    if (::mount(fuse_source().c_str(), path_.c_str(), kFuseType, flags, options.c_str()) != 0) {
        const Status status = failed("mount FUSE on '" + path_ + "'", why);
        ::close(device);
        return status;
    }
    const Result<std::vector<MountEntry>> mounts = read_mount_table();
    if (mounts.ok()) {
        const std::vector<MountEntry> layers = layers_at(mounts.value(), path_);
        if (!layers.empty() && is_fuse(layers.back())) {
            fuse_device_minor_ = layers.back().device_minor;
        }
    }
    if (fuse_device_minor_ == 0) {
        why = "the FUSE mount of '" + path_ + "' is not in the mount table";
        ::umount2(path_.c_str(), MNT_FORCE | MNT_DETACH);
        ::close(device);
        return Code::conflict;
    }
    raise_read_ahead();
    return device;
}

// The kernel's 128 KiB are an eighth of what a request may carry. Where /sys can't be written it
// stays at those.
void VolumeMount::raise_read_ahead() noexcept {
    write_control("/sys/class/bdi/0:" + std::to_string(fuse_device_minor_) + "/read_ahead_kb",
                  std::to_string(DevFuseTransport::kDataSizeMax / kKiB));
}

Status VolumeMount::abort(std::string& why) noexcept {
    if (!is_fuse_mounted()) return {};
    const Result<Top> shown = top(why);
    if (shown.ok() && shown.value() == Top::fuse) {
        // Aborts first, whatever becomes of the unmounting (fs/namespace.c, do_umount): EBUSY says
        // that somebody uses the mount, which then stays, dead.
        if (::umount2(path_.c_str(), MNT_FORCE) == 0 || errno == EBUSY) return {};
    }
    const std::string control =
        "/sys/fs/fuse/connections/" + std::to_string(fuse_device_minor_) + "/abort";
    if (write_control(control, "1")) return {};
    if (errno == ENOENT) return {};  // the connection is gone
    return failed("abort the FUSE mount of '" + path_ + "'", why);
}

Status VolumeMount::write_back(const std::string& path) noexcept {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return Status::from_errno(errno);
    const pid_t child = ::fork();
    if (child == 0) write_back_and_report(path.c_str(), ends[1]);
    const Status forked = child < 0 ? Status::from_errno(errno) : Status();
    ::close(ends[1]);
    int error = EIO;  // of a child that died
    ssize_t size = 0;
    do {
        size = forked.ok() ? ::read(ends[0], &error, sizeof error) : 0;
    } while (size < 0 && errno == EINTR);
    ::close(ends[0]);
    if (!forked.ok()) return forked;
    // Whoever reaps every child of the process may have been quicker.
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
    return error == 0 ? Status() : Status::from_errno(error);
}

Status VolumeMount::detach_fuse(std::string& why) noexcept {
    for (;;) {
        const Result<Top> shown = top(why);
        if (!shown.ok()) return shown.status();
        if (shown.value() != Top::fuse) return {};
        if (::umount2(path_.c_str(), MNT_FORCE | MNT_DETACH) != 0) {
            return failed("unmount FUSE from '" + path_ + "'", why);
        }
    }
}

Status VolumeMount::unmount(std::string& why) noexcept {
    GEMEL_TRY(detach_fuse(why));
    fuse_device_minor_ = 0;
    return {};
}

Status VolumeMount::uncover(std::string& why) noexcept {
    GEMEL_TRY(resolve_path(why));
    GEMEL_TRY(unmount(why));
    for (;;) {
        const Result<Top> shown = top(why);
        if (!shown.ok()) return shown.status();
        if (shown.value() == Top::other) break;
        if (::umount2(path_.c_str(), MNT_DETACH) == 0) continue;
        return failed("uncover '" + path_ + "'", why);
    }
    const Result<std::vector<MountEntry>> mounts = read_mount_table();
    if (!mounts.ok()) return mounts.status();
    tree_root_ = real_path(tree_root_);
    tree_path_ = tree_root_ + "/" + options_.mirror + "/" + std::to_string(options_.index);
    if (layers_at(mounts.value(), tree_path_).empty()) return {};
    if (::umount2(tree_path_.c_str(), MNT_DETACH) != 0) {
        return failed("unmount '" + tree_path_ + "'", why);
    }
    if (::rmdir(tree_path_.c_str()) != 0) {
        log_.log(LogLevel::warning, "fuse: '" + tree_path_ +
                                        "' stays behind: " + Status::from_errno(errno).to_string());
    }
    return {};
}

}  // namespace gemel
