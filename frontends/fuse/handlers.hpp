// SPDX-License-Identifier: Apache-2.0
// The opcodes of the kernel and what is done with each; the table (dispatch.cpp) names the reason
// of every ENOSYS. Kernels send an opcode answered ENOSYS once, or fall back to their own way.
#pragma once

#include "frontends/fuse/session.hpp"

#include <cstdint>

namespace gemel::fuse {

// Does what the request asks; the answer may come later.
void dispatch(Session& session, Request& request) noexcept;
// Null for an implemented opcode; else why it is answered ENOSYS.
[[nodiscard]] const char* refusal_reason(std::uint32_t opcode) noexcept;
// True for opcodes that a read-only mount answers EROFS.
[[nodiscard]] bool changes_volume(std::uint32_t opcode) noexcept;

// handlers_session.cpp
void handle_init(Session& session, Request& request) noexcept;
void handle_destroy(Session& session, Request& request) noexcept;
void handle_without_answer(Session& session, Request& request) noexcept;
void handle_statfs(Session& session, Request& request) noexcept;
void handle_fsync(Session& session, Request& request) noexcept;
void handle_syncfs(Session& session, Request& request) noexcept;

// handlers_names.cpp
void handle_lookup(Session& session, Request& request) noexcept;
void handle_mknod(Session& session, Request& request) noexcept;
void handle_mkdir(Session& session, Request& request) noexcept;
void handle_symlink(Session& session, Request& request) noexcept;
void handle_create(Session& session, Request& request) noexcept;
void handle_tmpfile(Session& session, Request& request) noexcept;
void handle_link(Session& session, Request& request) noexcept;
void handle_unlink(Session& session, Request& request) noexcept;
void handle_rmdir(Session& session, Request& request) noexcept;
void handle_rename(Session& session, Request& request) noexcept;
void handle_rename2(Session& session, Request& request) noexcept;

// handlers_attributes.cpp
void handle_getattr(Session& session, Request& request) noexcept;
void handle_statx(Session& session, Request& request) noexcept;
void handle_setattr(Session& session, Request& request) noexcept;
void handle_readlink(Session& session, Request& request) noexcept;
void handle_setxattr(Session& session, Request& request) noexcept;
void handle_getxattr(Session& session, Request& request) noexcept;
void handle_listxattr(Session& session, Request& request) noexcept;
void handle_removexattr(Session& session, Request& request) noexcept;

// handlers_data.cpp
void handle_open(Session& session, Request& request) noexcept;
void handle_release(Session& session, Request& request) noexcept;
void handle_read(Session& session, Request& request) noexcept;
void handle_write(Session& session, Request& request) noexcept;
void handle_fallocate(Session& session, Request& request) noexcept;
void handle_lseek(Session& session, Request& request) noexcept;
void handle_copy_file_range(Session& session, Request& request) noexcept;

// handlers_directory.cpp
void handle_opendir(Session& session, Request& request) noexcept;
void handle_readdir(Session& session, Request& request) noexcept;
void handle_readdirplus(Session& session, Request& request) noexcept;

// Shared by several of them.

// Fills what the kernel learns with a name: the object, its attributes, how long to keep them.
void fill_entry(Session& session, const Attributes& from, EntryOut& to) noexcept;
// Answers AttrOut with the object's present attributes, or the error of asking for them.
void answer_attributes(Session& session, Request& request, ObjectId object) noexcept;
// Answers an error status as its errno and returns true; false for ok.
bool answered_failure(Session& session, Request& request, Status status) noexcept;
// Answers without data, or the error.
void answer_done(Session& session, Request& request, Status status) noexcept;
// What the kernel may do with a file opened with these O_* flags (FOPEN_*).
[[nodiscard]] std::uint32_t open_reply_flags(const Session& session, std::uint32_t flags) noexcept;
// Removes an orphan for good, then answers the request without data.
void remove_orphan(Session& session, Request& request, ObjectId orphan) noexcept;

}  // namespace gemel::fuse
