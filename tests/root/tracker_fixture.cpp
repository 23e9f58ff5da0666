// SPDX-License-Identifier: Apache-2.0
#include "tests/root/tracker_fixture.hpp"

#include "engine/base/checksum.hpp"
#include "engine/io/uring/posix_vfs.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <iostream>
#include <sched.h>
#include <sstream>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace gemel {

namespace {

constexpr std::uint64_t kZeros = 0;  // the digest of a unit of them

// Without a look there is no verdict.
[[noreturn]] void give_up(const std::string& what) {
    std::cerr << what << '\n';
    std::abort();
}

std::string because(const char* call) { return std::string(call) + ": " + std::strerror(errno); }

bool run(const std::string& command) {
    return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

std::string make_command(const std::string& type) {
    if (type == "ext4") return "mkfs.ext4 -q -F";
    if (type == "xfs") return "mkfs.xfs -q -f -m reflink=1";
    return "mkfs.btrfs -q -f";
}

std::string attributes_of(int fd, const struct stat& facts) {
    std::ostringstream text;
    text << std::oct << facts.st_mode << std::dec << ' ' << facts.st_uid << ' ' << facts.st_gid
         << ' ' << (S_ISREG(facts.st_mode) ? facts.st_size : 0) << ' ' << facts.st_mtim.tv_sec
         << '.' << facts.st_mtim.tv_nsec << ' ' << facts.st_rdev;
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    std::array<char, 4096> names{};
    const ssize_t size = ::listxattr(path.c_str(), names.data(), names.size());
    for (ssize_t at = 0; at < size;) {
        const char* name = names.data() + at;
        std::array<char, 4096> value{};
        const ssize_t length = ::getxattr(path.c_str(), name, value.data(), value.size());
        text << ' ' << name << '=' << std::string(value.data(), length > 0 ? size_t(length) : 0);
        at += ssize_t(std::strlen(name)) + 1;
    }
    return text.str();
}

ObjectKey key_at(int directory, const char* path, int flags) {
    alignas(file_handle) std::array<char, sizeof(file_handle) + MAX_HANDLE_SZ> space{};
    auto* handle = new (space.data()) file_handle{};
    handle->handle_bytes = MAX_HANDLE_SZ;
    int mount = 0;
    if (::name_to_handle_at(directory, path, handle, &mount, flags) != 0) {
        give_up(because("name_to_handle_at"));
    }
    return {reinterpret_cast<const char*>(handle->f_handle), handle->handle_bytes};
}

std::vector<std::uint64_t> content_of(const std::string& path) {
    std::vector<std::uint64_t> digests;
    const int fd = ::open(path.c_str(), O_RDONLY | O_NOATIME | O_CLOEXEC);
    std::vector<std::byte> unit(kTrackedUnit);
    const std::uint64_t zeros = checksum64(Bytes(unit));
    for (;;) {
        std::fill(unit.begin(), unit.end(), std::byte{0});
        const ssize_t got =
            ::pread(fd, unit.data(), unit.size(), off_t(digests.size() * kTrackedUnit));
        if (got <= 0) break;
        const std::uint64_t digest = checksum64(Bytes(unit));
        digests.push_back(digest == zeros ? kZeros : digest);
    }
    ::close(fd);
    return digests;
}

void look(const std::string& path, TreeImage& image) {
    const int fd = ::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat facts {};
    if (fd < 0 || ::fstat(fd, &facts) != 0) give_up(because(path.c_str()));
    const ObjectKey key = key_of(path);
    ObjectImage& object = image[key];
    object.path = path;
    object.attributes = attributes_of(fd, facts);
    object.is_directory = S_ISDIR(facts.st_mode);
    ::close(fd);
    if (S_ISREG(facts.st_mode)) object.content = content_of(path);
    if (!object.is_directory) return;
    std::map<std::string, ObjectKey> names;
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
        names[entry.path().filename()] = key_of(entry.path());
        look(entry.path(), image);
    }
    image[key].names = std::move(names);
}

bool covers(const ObjectChange& change, std::size_t unit) {
    const std::uint64_t begin = unit * kTrackedUnit;
    return std::any_of(change.ranges.begin(), change.ranges.end(), [&](const DirtyRange& range) {
        return range.begin <= begin && begin < range.end;
    });
}

}  // namespace

bool leave_mounts_alone() {
    static const bool is_apart = ::unshare(CLONE_NEWNS) == 0 &&
                                 ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    return is_apart;
}

std::unique_ptr<ImageFileSystem> ImageFileSystem::make(const std::string& type, std::string& why) {
    std::string folder = "/var/tmp/gemel-tracker-XXXXXX";
    if (::mkdtemp(folder.data()) == nullptr) give_up(because("mkdtemp"));
    auto made = std::make_unique<ImageFileSystem>();
    made->type_ = type;
    made->folder_ = folder;
    made->root_ = folder + "/mnt/volume";
    ::mkdir((folder + "/mnt").c_str(), 0755);
    // XFS takes no less than 300 MiB; the image has holes.
    if (!run("truncate -s 400M " + folder + "/image") ||
        !run(make_command(type) + ' ' + folder + "/image") || !made->mount()) {
        why = type + " can't be made and mounted here";
        return nullptr;
    }
    return made;
}

bool ImageFileSystem::mount() {
    if (!run("mount -o loop " + folder_ + "/image " + folder_ + "/mnt")) return false;
    ::mkdir(root_.c_str(), 0755);
    fd_ = ::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd_ >= 0;
}

bool ImageFileSystem::unmount() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    return run("umount " + folder_ + "/mnt");
}

ImageFileSystem::~ImageFileSystem() {
    unmount();
    std::error_code error;
    std::filesystem::remove_all(folder_, error);
}

void ImageFileSystem::sync() const {
    if (::syncfs(fd_) != 0) give_up(because("syncfs"));
}

ObjectKey key_of(const std::string& path) { return key_at(AT_FDCWD, path.c_str(), 0); }

TreeImage image_of(const std::string& root) {
    TreeImage image;
    look(root, image);
    return image;
}

void Recorded::add(const ChangeRecord& record) {
    incomplete_ = incomplete_ || !record.incomplete.empty();
    PosixVfs vfs;
    for (const ObjectChange& change : record.objects) {
        const Result<Fd> opened = vfs.open_by_handle(Fd{file_system_}, change.handle, O_PATH);
        if (!opened.ok() && opened.status().is_errno(ESTALE)) continue;
        if (!opened.ok()) give_up("open_by_handle: " + opened.status().to_string());
        const ScopedFd file(vfs, opened.value());
        ObjectChange& known = objects_[key_at(file.get().value, "", AT_EMPTY_PATH)];
        known.attributes = known.attributes || change.attributes;
        known.names = known.names || change.names;
        known.ranges.insert(known.ranges.end(), change.ranges.begin(), change.ranges.end());
        if (known.changer.pid == 0) known.changer = change.changer;
    }
}

std::vector<std::string> Recorded::missing(const TreeImage& before, const TreeImage& after) const {
    std::vector<std::string> texts;
    const ObjectChange nothing;
    for (const auto& [key, then] : before) {
        const auto found = after.find(key);
        if (found == after.end()) continue;  // its directory has to say so
        const ObjectImage& now = found->second;
        const auto recorded = objects_.find(key);
        const ObjectChange& change = recorded == objects_.end() ? nothing : recorded->second;
        if (then.attributes != now.attributes && !change.attributes) {
            texts.push_back("attributes of " + now.path + ": " + then.attributes + " -> " +
                            now.attributes);
        }
        if (then.names != now.names && !change.names) texts.push_back("names in " + now.path);
        const std::size_t units = std::max(then.content.size(), now.content.size());
        for (std::size_t i = 0; i < units; ++i) {
            // What lies behind the end is a matter of the size, and reads as zeros when that grows.
            if (i >= now.content.size() || covers(change, i)) continue;
            if (now.content[i] == (i < then.content.size() ? then.content[i] : kZeros)) continue;
            texts.push_back("unit " + std::to_string(i) + " of " + now.path);
        }
    }
    return texts;
}

bool as_stranger(const std::function<bool()>& change) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(change() ? 0 : 1);
    int status = 0;
    return child > 0 && ::waitpid(child, &status, 0) == child && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

const ChangeCase& change_case(const std::string& name) {
    for (const ChangeCase& one : change_cases()) {
        if (one.name == name) return one;
    }
    give_up("no case " + name);
}

}  // namespace gemel
