// SPDX-License-Identifier: Apache-2.0
#include "examples/sqlite_vfs.hpp"

#include <algorithm>
#include <cstring>
#include <sqlite3.h>
#include <string_view>

namespace examples {

using libgemel::Error;

namespace {

// SQLite gives the memory, szOsFile bytes of it.
struct VfsFile {
    sqlite3_file base;
    DatabaseFiles* files;
    DatabaseFiles::File which;
};

DatabaseFiles* opened_files = nullptr;

VfsFile& of(sqlite3_file* file) { return *reinterpret_cast<VfsFile*>(file); }

sqlite3_vfs& default_vfs(sqlite3_vfs* vfs) { return *static_cast<sqlite3_vfs*>(vfs->pAppData); }

int result_of(Error error, int otherwise) {
    if (error == Error::none) return SQLITE_OK;
    return error == Error::no_space ? SQLITE_FULL : otherwise;
}

// --- A file --------------------------------------------------------------------------------------

int close_file(sqlite3_file*) { return SQLITE_OK; }

int read_file(sqlite3_file* file, void* data, int size, sqlite3_int64 offset) {
    VfsFile& self = of(file);
    const std::span<std::byte> target(static_cast<std::byte*>(data),
                                      static_cast<std::size_t>(size));
    const auto begin = static_cast<std::uint64_t>(offset);
    const std::uint64_t length = self.files->size(self.which);
    const std::uint64_t here = begin < length ? length - begin : 0;
    const auto part = target.first(std::min<std::size_t>(target.size(), here));
    if (!part.empty()) {
        const Error error = self.files->read(self.which, begin, part);
        if (error != Error::none) return SQLITE_IOERR_READ;
    }
    if (part.size() == target.size()) return SQLITE_OK;
    std::fill(target.begin() + static_cast<std::ptrdiff_t>(part.size()), target.end(),
              std::byte{0});
    return SQLITE_IOERR_SHORT_READ;
}

int write_file(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
    VfsFile& self = of(file);
    const std::span<const std::byte> source(static_cast<const std::byte*>(data),
                                            static_cast<std::size_t>(size));
    const auto begin = static_cast<std::uint64_t>(offset);
    if (begin + source.size() > self.files->capacity(self.which)) return SQLITE_FULL;
    return result_of(self.files->write(self.which, begin, source), SQLITE_IOERR_WRITE);
}

int truncate_file(sqlite3_file* file, sqlite3_int64 size) {
    VfsFile& self = of(file);
    return result_of(self.files->truncate(self.which, static_cast<std::uint64_t>(size)),
                     SQLITE_IOERR_TRUNCATE);
}

int sync_file(sqlite3_file* file, int) {
    return result_of(of(file).files->sync(), SQLITE_IOERR_FSYNC);
}

int file_size(sqlite3_file* file, sqlite3_int64* size) {
    *size = static_cast<sqlite3_int64>(of(file).files->size(of(file).which));
    return SQLITE_OK;
}

// One connection of one process: the mirror sees to it that no other machine has any.
int lock_file(sqlite3_file*, int) { return SQLITE_OK; }
int check_reserved_lock(sqlite3_file*, int* is_reserved) {
    *is_reserved = 0;
    return SQLITE_OK;
}
int file_control(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
// A block is what a crash may leave half old and half new.
int sector_size(sqlite3_file*) { return 4096; }
int device_characteristics(sqlite3_file*) { return 0; }

// Version 1: no shared memory, so no write-ahead log.
constexpr sqlite3_io_methods kMethods = {1,
                                         close_file,
                                         read_file,
                                         write_file,
                                         truncate_file,
                                         sync_file,
                                         file_size,
                                         lock_file,
                                         lock_file,
                                         check_reserved_lock,
                                         file_control,
                                         sector_size,
                                         device_characteristics,
                                         nullptr,
                                         nullptr,
                                         nullptr,
                                         nullptr,
                                         nullptr,
                                         nullptr};

// --- The VFS -------------------------------------------------------------------------------------

bool is_journal(const char* name) { return std::string_view(name).ends_with("-journal"); }
bool is_ours(const char* name) {
    return is_journal(name) || !std::string_view(name).ends_with("-wal");
}

int open_file(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
    if ((flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_MAIN_JOURNAL)) == 0) {
        return default_vfs(vfs).xOpen(&default_vfs(vfs), name, file, flags, out_flags);
    }
    const bool is_database = (flags & SQLITE_OPEN_MAIN_DB) != 0;
    VfsFile& self = of(file);
    self.base.pMethods = &kMethods;
    self.files = opened_files;
    self.which = is_database ? DatabaseFiles::database : DatabaseFiles::journal;
    self.files->create(self.which);
    if (out_flags != nullptr) *out_flags = flags;
    return SQLITE_OK;
}

int delete_file(sqlite3_vfs*, const char* name, int) {
    if (!is_journal(name)) return SQLITE_OK;
    return result_of(opened_files->remove(DatabaseFiles::journal), SQLITE_IOERR_DELETE);
}

int access_file(sqlite3_vfs*, const char* name, int, int* result) {
    const auto file = is_journal(name) ? DatabaseFiles::journal : DatabaseFiles::database;
    *result = is_ours(name) && opened_files->exists(file) ? 1 : 0;
    return SQLITE_OK;
}

int full_path(sqlite3_vfs*, const char* name, int size, char* out) {
    sqlite3_snprintf(size, out, "%s", name);
    return SQLITE_OK;
}

}  // namespace

int register_vfs(DatabaseFiles& files) {
    opened_files = &files;
    sqlite3_vfs* base = sqlite3_vfs_find(nullptr);
    static sqlite3_vfs vfs = *base;  // its clock and its chance
    vfs.iVersion = 1;
    vfs.szOsFile = std::max(base->szOsFile, static_cast<int>(sizeof(VfsFile)));
    vfs.pNext = nullptr;
    vfs.zName = "gemel";
    vfs.pAppData = base;
    vfs.xOpen = open_file;
    vfs.xDelete = delete_file;
    vfs.xAccess = access_file;
    vfs.xFullPathname = full_path;
    return sqlite3_vfs_register(&vfs, 0);
}

}  // namespace examples
