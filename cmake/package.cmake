# The Debian package: `make deb`. What is installed besides the programs, and what CPack is to know.

install(FILES packaging/log_capturer.service DESTINATION /lib/systemd/system)
install(FILES packaging/config.yaml DESTINATION /etc/log_capturer)
install(FILES docs/options.md docs/metrics.md docs/pools.md docs/runbooks.md DESTINATION share/doc/log-capturer)
install(FILES LICENSE DESTINATION share/doc/log-capturer RENAME copyright)

# The program prints its manual pages and completions.
set(printed ${CMAKE_BINARY_DIR}/printed)
function(install_printed arguments file destination)
  install(CODE "
    file(MAKE_DIRECTORY \"${printed}\")
    execute_process(COMMAND \"${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/log_capturer\" ${arguments}
      OUTPUT_FILE \"${printed}/${file}\" COMMAND_ERROR_IS_FATAL ANY)")
  if(file MATCHES "\\.[15]$")
    install(CODE "execute_process(COMMAND gzip -9nf \"${printed}/${file}\" COMMAND_ERROR_IS_FATAL ANY)")
    set(file ${file}.gz)
  endif()
  install(FILES ${printed}/${file} DESTINATION share/${destination})
endfunction()
install_printed("man" log_capturer.1 man/man1)
install_printed("man 5" log_capturer.yaml.5 man/man5)
install_printed("completion bash" log_capturer bash-completion/completions)
install_printed("completion zsh" _log_capturer zsh/vendor-completions)
install_printed("completion fish" log_capturer.fish fish/vendor_completions.d)

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
