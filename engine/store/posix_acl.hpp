// SPDX-License-Identifier: Apache-2.0
// Inheritance of POSIX ACLs (acl(5), "OBJECT CREATION AND DEFAULT ACLs"): what a new object gets
// from its directory's default ACL, computed before the object has a name. The values are those of
// system.posix_acl_access and system.posix_acl_default: version 2, then entries of tag, permission
// and id (include/uapi/linux/posix_acl_xattr.h).
#pragma once

#include "engine/base/bytes.hpp"
#include "engine/base/status.hpp"

#include <cstdint>
#include <string_view>

namespace gemel {

inline constexpr std::string_view kAccessAclAttribute = "system.posix_acl_access";
inline constexpr std::string_view kDefaultAclAttribute = "system.posix_acl_default";

struct InheritedAcl {
    std::uint32_t mode = 0;  // as asked for, limited by the ACL
    ByteBuffer access;       // empty where the mode says it all
    ByteBuffer default_acl;  // directories pass the default on; empty for others
};

// `mode` is what the program asked for, without its umask (a default ACL takes the umask's place);
// file type and set-id bits pass through. Requires: not a symbolic link (they have no ACLs).
// corrupt: the default ACL can't be read as one.
Result<InheritedAcl> inherit_acl(Bytes parent_default, std::uint32_t mode) noexcept;

}  // namespace gemel
