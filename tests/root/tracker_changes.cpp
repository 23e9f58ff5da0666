// SPDX-License-Identifier: Apache-2.0
// Every kind of change that the tracker has to see, one case each. The file "f" is 4 MiB, its pages
// dirty and not written back: written by the test's own process, which is not recorded.
#include "tests/root/tracker_fixture.hpp"

#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace gemel {

namespace {

constexpr std::size_t kSize = 4 << 20;
constexpr std::size_t kPage = 4096;
constexpr off_t kFar = 3 << 20;  // in another unit than the beginning

using Path = const std::string&;

bool write_file(Path path, std::size_t size, char fill) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT, 0644);
    std::string data(size, fill);
    // No two pages alike: what is moved shows.
    for (std::size_t i = 0; i < size; i += kPage) data[i] = static_cast<char>(i / kPage % 251);
    const bool done = ::pwrite(fd, data.data(), size, 0) == ssize_t(size);
    return ::close(fd) == 0 && done;
}

bool prepare_file(Path root) { return write_file(root + "/f", kSize, 'a'); }

bool prepare_two(Path root) { return prepare_file(root) && write_file(root + "/g", kSize, 'b'); }

bool prepare_names(Path root) {
    return ::mkdir((root + "/d").c_str(), 0755) == 0 && ::mkdir((root + "/e").c_str(), 0755) == 0 &&
           write_file(root + "/d/x", 100, 'x') && write_file(root + "/e/y", 100, 'y');
}

// Opens "f", does it, closes.
std::function<bool(Path)> on_file(std::function<bool(int)> body, int flags = O_RDWR) {
    return [body = std::move(body), flags](Path root) {
        const int fd = ::open((root + "/f").c_str(), flags);
        const bool done = fd >= 0 && body(fd);
        return ::close(fd) == 0 && done;
    };
}

bool is_written(ssize_t count) { return count == ssize_t(kPage); }

const std::string& page() {
    static const std::string data(kPage, 'z');
    return data;
}

bool store(int fd, off_t at, bool reads_first) {
    void* memory = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) return false;
    volatile char* bytes = static_cast<char*>(memory);
    if (reads_first && bytes[at] == 0) return false;
    bytes[at] = 'm';
    return ::munmap(memory, kSize) == 0;
}

bool write_direct(int fd, off_t at) {
    void* memory = std::aligned_alloc(kPage, kPage);
    std::memset(memory, 'd', kPage);
    const bool done = is_written(::pwrite(fd, memory, kPage, at));
    std::free(memory);
    return done;
}

// `commands` in a shell whose working directory is the root.
std::function<bool(Path)> shell(std::string commands) {
    return [commands = std::move(commands)](Path root) {
        return std::system(("cd " + root + " && { " + commands + "; } >/dev/null 2>&1").c_str()) ==
               0;
    };
}

// 4 KiB at kFar of "f".
std::function<bool(Path)> write_by_ring(bool direct) {
    return shell(
        std::string("fio --name=f --filename=f --ioengine=io_uring --rw=write --bs=4k "
                    "--offset=3m --size=4k --allow_file_create=0 --overwrite=1 --direct=") +
        (direct ? "1" : "0"));
}

bool splice_in(int fd) {
    int ends[2];
    if (::pipe(ends) != 0 || !is_written(::write(ends[1], page().data(), kPage))) return false;
    loff_t at = kFar;
    return is_written(::splice(ends[0], nullptr, fd, &at, kPage, 0));
}

bool send_in(Path root) {
    const int in = ::open((root + "/g").c_str(), O_RDONLY);
    const int out = ::open((root + "/f").c_str(), O_RDWR);
    return ::lseek(out, kFar, SEEK_SET) == kFar && is_written(::sendfile(out, in, nullptr, kPage));
}

bool copy_in(Path root) {
    const int in = ::open((root + "/g").c_str(), O_RDONLY);
    const int out = ::open((root + "/f").c_str(), O_RDWR);
    loff_t from = 0, to = kFar;
    return is_written(::copy_file_range(in, &from, out, &to, kPage, 0));
}

bool clone_in(Path root) {
    const int in = ::open((root + "/g").c_str(), O_RDONLY);
    const int out = ::open((root + "/f").c_str(), O_RDWR);
    file_clone_range range{in, 0, kSize / 2, kSize / 2};
    return ::ioctl(out, FICLONERANGE, &range) == 0;
}

bool clone_all(Path root) {
    const int in = ::open((root + "/g").c_str(), O_RDONLY);
    const int out = ::open((root + "/f").c_str(), O_RDWR);
    return ::ioctl(out, FICLONE, in) == 0;
}

bool dedupe(Path root) {
    const int in = ::open((root + "/g").c_str(), O_RDWR);
    const int out = ::open((root + "/f").c_str(), O_RDWR);
    // Something to share first.
    if (::ftruncate(out, 0) != 0 || !write_file(root + "/f", kSize, 'b')) return false;
    if (::fsync(in) != 0 || ::fsync(out) != 0) return false;
    alignas(file_dedupe_range) char
        space[sizeof(file_dedupe_range) + sizeof(file_dedupe_range_info)] = {};
    auto* range = static_cast<file_dedupe_range*>(static_cast<void*>(space));
    range->src_length = kSize / 2;
    range->dest_count = 1;
    range->info[0].dest_fd = out;
    return ::ioctl(in, FIDEDUPERANGE, range) == 0 && range->info[0].status == 0;
}

std::function<bool(Path)> allocate(int mode, off_t offset, off_t size) {
    return on_file([=](int fd) { return ::fallocate(fd, mode, offset, size) == 0; });
}

std::function<bool(Path)> rename_with(unsigned flags, const char* from, const char* to) {
    return [=](Path root) {
        return ::renameat2(AT_FDCWD, (root + from).c_str(), AT_FDCWD, (root + to).c_str(), flags) ==
               0;
    };
}

bool set_times(Path root) {
    const timespec times[2] = {{1000, 0}, {2000, 5}};
    return ::utimensat(AT_FDCWD, (root + "/f").c_str(), times, 0) == 0;
}

std::vector<ChangeCase> data_cases() {
    return {
        {"write", prepare_file,
         on_file([](int fd) { return is_written(::write(fd, page().data(), kPage)); }), ""},
        {"pwritev2", prepare_file, on_file([](int fd) {
             iovec one{const_cast<char*>(page().data()), kPage};
             return is_written(::pwritev2(fd, &one, 1, kFar, RWF_DSYNC));
         }),
         ""},
        {"append", prepare_file,
         on_file([](int fd) { return is_written(::write(fd, page().data(), kPage)); },
                 O_WRONLY | O_APPEND),
         ""},
        {"write far behind the end", prepare_file,
         on_file([](int fd) { return is_written(::pwrite(fd, page().data(), kPage, kSize * 8)); }),
         ""},
        {"splice", prepare_file, on_file(splice_in), ""},
        {"sendfile", prepare_two, send_in, ""},
        {"copy_file_range", prepare_two, copy_in, ""},
        {"io_uring", prepare_file, write_by_ring(false), ""},
        {"mmap", prepare_file, on_file([](int fd) { return store(fd, kFar, false); }), ""},
        {"mmap, read before", prepare_file, on_file([](int fd) { return store(fd, kFar, true); }),
         ""},
        {"direct", prepare_file,
         on_file([](int fd) { return write_direct(fd, kFar); }, O_RDWR | O_DIRECT), ""},
        {"direct, behind the end", prepare_file,
         on_file([](int fd) { return write_direct(fd, kSize + kFar); }, O_RDWR | O_DIRECT), ""},
        {"direct by io_uring", prepare_file, write_by_ring(true), ""},
    };
}

std::vector<ChangeCase> range_cases() {
    constexpr int kKeep = FALLOC_FL_KEEP_SIZE;
    return {
        {"truncate", prepare_file, on_file([](int fd) { return ::ftruncate(fd, 70'000) == 0; }),
         ""},
        {"truncate there and back", prepare_file, on_file([](int fd) {
             return ::ftruncate(fd, 70'001) == 0 && ::ftruncate(fd, kSize) == 0;
         }),
         ""},
        {"open with O_TRUNC", prepare_file,
         on_file([](int fd) { return is_written(::pwrite(fd, page().data(), kPage, kFar)); },
                 O_RDWR | O_TRUNC),
         ""},
        {"fallocate", prepare_file, allocate(0, kSize, 1 << 20), ""},
        {"fallocate, size kept", prepare_file, allocate(kKeep, kSize, 1 << 20), ""},
        {"punch hole", prepare_file, allocate(FALLOC_FL_PUNCH_HOLE | kKeep, kFar + 5, 300'000), ""},
        {"zero range", prepare_file, allocate(FALLOC_FL_ZERO_RANGE, kFar + 5, 300'000), ""},
        {"zero range, behind the end", prepare_file,
         allocate(FALLOC_FL_ZERO_RANGE, kFar + 5, 1 << 20), ""},
        {"collapse range", prepare_file, allocate(FALLOC_FL_COLLAPSE_RANGE, kFar, 64 << 10),
         "ext4 xfs"},
        {"insert range", prepare_file, allocate(FALLOC_FL_INSERT_RANGE, kFar, 64 << 10),
         "ext4 xfs"},
        {"unshare range", prepare_two,
         [](Path root) {
             return clone_all(root) && allocate(FALLOC_FL_UNSHARE_RANGE, 0, kSize)(root);
         },
         "xfs"},
        {"reflink of a range", prepare_two, clone_in, "xfs btrfs"},
        {"reflink", prepare_two, clone_all, "xfs btrfs"},
        {"dedupe", prepare_two, dedupe, "xfs btrfs"},
    };
}

std::vector<ChangeCase> attribute_cases() {
    return {
        {"chmod", prepare_file, [](Path root) { return ::chmod((root + "/f").c_str(), 0600) == 0; },
         ""},
        {"chown", prepare_file, [](Path root) { return ::chown((root + "/f").c_str(), 3, 4) == 0; },
         ""},
        {"chmod of a directory", prepare_names,
         [](Path root) { return ::chmod((root + "/d").c_str(), 0700) == 0; }, ""},
        {"utimensat", prepare_file, set_times, ""},
        {"setxattr", prepare_file,
         [](Path root) { return ::setxattr((root + "/f").c_str(), "user.one", "1", 1, 0) == 0; },
         ""},
        {"removexattr",
         [](Path root) {
             return prepare_file(root) &&
                    ::setxattr((root + "/f").c_str(), "user.one", "1", 1, 0) == 0;
         },
         [](Path root) { return ::removexattr((root + "/f").c_str(), "user.one") == 0; }, ""},
        {"xattr of a symbolic link",
         [](Path root) { return ::symlink("nowhere", (root + "/l").c_str()) == 0; },
         [](Path root) {
             return ::lsetxattr((root + "/l").c_str(), "trusted.one", "1", 1, 0) == 0;
         },
         ""},
        {"ACL", prepare_file, shell("setfacl -m u:7:rwx f"), ""},
        {"default ACL", prepare_names, shell("setfacl -d -m u:7:rwx d"), ""},
    };
}

std::vector<ChangeCase> name_cases() {
    return {
        {"create", prepare_names, [](Path root) { return write_file(root + "/d/new", 5000, 'n'); },
         ""},
        {"O_TMPFILE and linkat", prepare_names,
         [](Path root) {
             const int fd = ::open((root + "/d").c_str(), O_TMPFILE | O_RDWR, 0644);
             return ::linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(fd)).c_str(), AT_FDCWD,
                             (root + "/e/t").c_str(), AT_SYMLINK_FOLLOW) == 0;
         },
         ""},
        {"link", prepare_names,
         [](Path root) { return ::link((root + "/d/x").c_str(), (root + "/e/x").c_str()) == 0; },
         ""},
        {"unlink", prepare_names, [](Path root) { return ::unlink((root + "/d/x").c_str()) == 0; },
         ""},
        {"mkdir", prepare_names,
         [](Path root) { return ::mkdir((root + "/d/n").c_str(), 0755) == 0; }, ""},
        {"rmdir",
         [](Path root) {
             return prepare_names(root) && ::mkdir((root + "/d/n").c_str(), 0755) == 0;
         },
         [](Path root) { return ::rmdir((root + "/d/n").c_str()) == 0; }, ""},
        {"symlink", prepare_names,
         [](Path root) { return ::symlink("x", (root + "/d/s").c_str()) == 0; }, ""},
        {"mknod", prepare_names,
         [](Path root) { return ::mknod((root + "/d/p").c_str(), S_IFIFO | 0600, 0) == 0; }, ""},
        {"rename", prepare_names, rename_with(0, "/d/x", "/d/z"), ""},
        {"rename into another directory", prepare_names, rename_with(0, "/d/x", "/e/z"), ""},
        {"rename over another", prepare_names, rename_with(0, "/d/x", "/e/y"), ""},
        {"rename, no replacement", prepare_names, rename_with(RENAME_NOREPLACE, "/d/x", "/e/z"),
         ""},
        {"exchange", prepare_names, rename_with(RENAME_EXCHANGE, "/d/x", "/e/y"), ""},
        {"whiteout", prepare_names, rename_with(RENAME_WHITEOUT, "/d/x", "/e/z"), ""},
        {"rename of a directory", prepare_names, rename_with(0, "/d", "/e/d"), ""},
    };
}

std::vector<ChangeCase> program_cases() {
    return {
        {"dd oflag=direct", prepare_file,
         shell("dd if=/dev/zero of=f bs=64k count=4 seek=20 conv=notrunc oflag=direct"), ""},
        {"cp --reflink", prepare_two, shell("cp --reflink=auto g f"), ""},
        {"fallocate -d", prepare_file,
         shell("dd if=/dev/zero of=f bs=64k count=8 conv=notrunc && fallocate -d f"), ""},
        {"git", prepare_names,
         shell("git init -q . && git -c user.name=a -c user.email=b add . && "
               "git -c user.name=a -c user.email=b commit -q -m m && git gc -q"),
         ""},
        {"sqlite3",
         shell("sqlite3 db 'create table t(a); insert into t values (1); pragma "
               "journal_mode=wal;'"),
         shell("sqlite3 db 'pragma mmap_size=1000000; insert into t select hex(randomblob(9000)) "
               "from (select 1 union select 2 union select 3);'"),
         ""},
        {"rsync --inplace", prepare_two, shell("rsync --inplace --no-whole-file g f && rm g"), ""},
    };
}

}  // namespace

const std::vector<ChangeCase>& change_cases() {
    static const std::vector<ChangeCase> all = [] {
        std::vector<ChangeCase> cases;
        for (auto make : {data_cases, range_cases, attribute_cases, name_cases, program_cases}) {
            for (ChangeCase& one : make()) cases.push_back(std::move(one));
        }
        return cases;
    }();
    return all;
}

}  // namespace gemel
