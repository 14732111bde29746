# The Debian package: `make deb`. What is installed besides the programs, and what CPack is to know.

install(FILES packaging/log_capturer.service DESTINATION /lib/systemd/system)
install(FILES packaging/config.yaml DESTINATION /etc/log_capturer)
install(FILES docs/options.md docs/metrics.md docs/runbooks.md DESTINATION share/doc/log-capturer)
install(FILES LICENSE DESTINATION share/doc/log-capturer RENAME copyright)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME log_capturer)
set(CPACK_PACKAGE_CONTACT "log_capturer maintainers <maintainers@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "captures the logs of Docker containers into a durable local log")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_PACKAGE_NAME log-capturer) # Debian allows no underscore
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libcurl4 (>= 7.85)") # symbols' versions say less
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS ca-certificates)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS docker.io)
set(scripts ${CMAKE_SOURCE_DIR}/packaging/debian)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${scripts}/conffiles ${scripts}/postinst ${scripts}/prerm ${scripts}/postrm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
