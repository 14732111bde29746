/*
 * OpenSSL writes with write(2), which raises SIGPIPE; so its bytes go through a BIO of ours that uses
 * send(2) with MSG_NOSIGNAL. Its idle buffers are given back (SSL_MODE_RELEASE_BUFFERS): a pooled
 * connection is idle most of its life. Session tickets are not sent: they would look like bytes of the
 * application on a connection that waits in a pool.
 */
#include "net/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/hostport.h"
#include "base/str.h"

#define SELF_SIGNED_DAYS 3650
#define WANTS_READ 1
#define WANTS_WRITE 2

struct tls_context {
    SSL_CTX *ssl;
    bool server, verify;
};

struct tls {
    SSL *ssl;
    int wants;
};

/* ---- bytes ---- */

static int bio_write(BIO *bio, const char *bytes, int size)
{
    int fd = (int)(intptr_t)BIO_get_data(bio);
    ssize_t n = send(fd, bytes, (size_t)size, MSG_NOSIGNAL);
    BIO_clear_retry_flags(bio);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        BIO_set_retry_write(bio);
    }
    return (int)n;
}

static int bio_read(BIO *bio, char *ret_bytes, int size)
{
    int fd = (int)(intptr_t)BIO_get_data(bio);
    ssize_t n = recv(fd, ret_bytes, (size_t)size, 0);
    BIO_clear_retry_flags(bio);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        BIO_set_retry_read(bio);
    }
    return (int)n;
}

static long bio_control(BIO *bio, int command, long number, void *data)
{
    (void)bio;
    (void)number;
    (void)data;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static BIO_METHOD *bio_method;
static pthread_once_t bio_once = PTHREAD_ONCE_INIT;

static void make_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    if (method != NULL && BIO_meth_set_write(method, bio_write) == 1 &&
        BIO_meth_set_read(method, bio_read) == 1 && BIO_meth_set_ctrl(method, bio_control) == 1 &&
        BIO_meth_set_create(method, bio_create) == 1) {
        bio_method = method;
    } else {
        BIO_meth_free(method);
    }
}

/* ---- errors ---- */

/* Why OpenSSL's last call failed, in its words. */
static void tell(struct error *error, const char *what)
{
    unsigned long code = ERR_peek_error(); /* the first one is nearest to the cause */
    const char *reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code))
                         : ERR_GET_LIB(code) == ERR_LIB_PEM &&
                                 ERR_GET_REASON(code) == PEM_R_NO_START_LINE
                             ? "it has no such PEM part"
                             : ERR_reason_error_string(code);
    error_set(error, "%s: %s", what, reason != NULL ? reason : "failed");
    ERR_clear_error();
}

static void tell_handshake(const struct tls *tls, struct error *error)
{
    long verdict = SSL_get_verify_result(tls->ssl);
    if (verdict != X509_V_OK) {
        error_set(error, "TLS: the peer's certificate is refused: %s",
                  X509_verify_cert_error_string(verdict));
        ERR_clear_error();
    } else {
        tell(error, "TLS");
    }
}

/* ---- context ---- */

static int load_authorities(SSL_CTX *ssl, const char *ca, struct error *error)
{
    int done = ca != NULL && ca[0] != '\0' ? SSL_CTX_load_verify_file(ssl, ca)
                                           : SSL_CTX_set_default_verify_paths(ssl);
    if (done != 1) {
        tell(error, ca != NULL && ca[0] != '\0' ? ca : "the system's certificate authorities");
        return -EINVAL;
    }
    return 0;
}

static int load_certificate(SSL_CTX *ssl, const struct tls_options *options, struct error *error)
{
    if (SSL_CTX_use_certificate_chain_file(ssl, options->cert) != 1) {
        tell(error, options->cert);
        return -EINVAL;
    }
    const char *key = options->key != NULL && options->key[0] != '\0' ? options->key
                                                                      : options->cert;
    if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1) {
        if (ERR_SYSTEM_ERROR(ERR_peek_error())) {
            tell(error, key);
        } else {
            error_set(error, "%s: there is no private key in it; it may be in a file of its own",
                      key);
            ERR_clear_error();
        }
        return -EINVAL;
    }
    if (SSL_CTX_check_private_key(ssl) != 1) {
        tell(error, key);
        return -EINVAL;
    }
    return 0;
}

static int fill_certificate(X509 *certificate, EVP_PKEY *key)
{
    uint64_t serial = 1;
    X509_NAME *name = X509_get_subject_name(certificate);
    (void)RAND_bytes((unsigned char *)&serial, sizeof(serial));
    return X509_set_version(certificate, 2) == 1 &&
                   ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1) == 1 &&
                   X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) != NULL &&
                   X509_gmtime_adj(X509_getm_notAfter(certificate), SELF_SIGNED_DAYS * 86400L) !=
                       NULL &&
                   X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                              (const unsigned char *)"log_capturer", -1, -1,
                                              0) == 1 &&
                   X509_set_issuer_name(certificate, name) == 1 &&
                   X509_set_pubkey(certificate, key) == 1 &&
                   X509_sign(certificate, key, EVP_sha256()) != 0
               ? 0
               : -ENOMEM;
}

static int make_certificate(SSL_CTX *ssl, struct error *error)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    int rc = key == NULL || certificate == NULL ? -ENOMEM : fill_certificate(certificate, key);
    if (rc == 0 &&
        (SSL_CTX_use_certificate(ssl, certificate) != 1 || SSL_CTX_use_PrivateKey(ssl, key) != 1)) {
        rc = -ENOMEM;
    }
    if (rc != 0) {
        tell(error, "a self-signed certificate can't be made");
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
    return rc;
}

static int configure(struct tls_context *context, const struct tls_options *options,
                     struct error *error)
{
    SSL_CTX *ssl = context->ssl;
    bool has_certificate = options->cert != NULL && options->cert[0] != '\0';
    int demanded = SSL_VERIFY_PEER | (options->server ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
    (void)SSL_CTX_set_min_proto_version(ssl, options->allow_12 ? TLS1_2_VERSION : TLS1_3_VERSION);
    (void)SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_num_tickets(ssl, 0);
    (void)SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(ssl, options->verify ? demanded : SSL_VERIFY_NONE, NULL);
    int rc = options->verify ? load_authorities(ssl, options->ca, error) : 0;
    if (rc == 0 && has_certificate) {
        rc = load_certificate(ssl, options, error);
    } else if (rc == 0 && options->server) {
        rc = make_certificate(ssl, error);
    }
    return rc;
}

int tls_context_create(const struct tls_options *options, struct tls_context **ret_context,
                       struct error *error)
{
    struct tls_context *context = calloc(1, sizeof(*context));
    if (context == NULL) {
        error_set(error, "out of memory");
        return -ENOMEM;
    }
    (void)pthread_once(&bio_once, make_bio_method);
    context->server = options->server;
    context->verify = options->verify;
    context->ssl = SSL_CTX_new(options->server ? TLS_server_method() : TLS_client_method());
    int rc = context->ssl == NULL || bio_method == NULL ? -ENOMEM : 0;
    if (rc != 0) {
        tell(error, "TLS can't be set up");
    }
    rc = rc != 0 ? rc : configure(context, options, error);
    if (rc != 0) {
        tls_context_destroy(context);
        return rc;
    }
    *ret_context = context;
    return 0;
}

void tls_context_destroy(struct tls_context *context)
{
    if (context != NULL) {
        SSL_CTX_free(context->ssl);
        free(context);
    }
}

/* ---- connection ---- */

static bool is_ip(const char *host)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* The name the certificate must have, and SNI (RFC 6066 allows no addresses there). */
static int set_host(const struct tls_context *context, SSL *ssl, const char *host)
{
    if (is_ip(host)) {
        return !context->verify || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    }
    char name[HOSTPORT_HOST_SIZE]; /* the macro below casts its const away */
    (void)str_copy(name, sizeof(name), host);
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(ssl, name) == 1 &&
           (!context->verify || SSL_set1_host(ssl, host) == 1);
}

int tls_open(struct tls_context *context, int fd, const char *host, struct tls **ret_tls)
{
    struct tls *tls = calloc(1, sizeof(*tls));
    if (tls == NULL) {
        return -ENOMEM;
    }
    tls->ssl = SSL_new(context->ssl);
    BIO *bio = tls->ssl != NULL ? BIO_new(bio_method) : NULL;
    if (bio == NULL) {
        goto fail;
    }
    BIO_set_data(bio, (void *)(intptr_t)fd);
    SSL_set_bio(tls->ssl, bio, bio);
    if (context->server) {
        SSL_set_accept_state(tls->ssl);
    } else {
        SSL_set_connect_state(tls->ssl);
        if (host != NULL && host[0] != '\0' && !set_host(context, tls->ssl, host)) {
            goto fail;
        }
    }
    *ret_tls = tls;
    return 0;
fail:
    ERR_clear_error();
    tls_destroy(tls);
    return -ENOMEM;
}

void tls_destroy(struct tls *tls)
{
    if (tls != NULL) {
        SSL_free(tls->ssl);
        free(tls);
    }
}

/* What OpenSSL's result n means: 0 for a proper end, else a negative errno. */
static int explain(struct tls *tls, int n)
{
    int code = SSL_get_error(tls->ssl, n);
    int cause = errno;
    if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE) {
        tls->wants = code == SSL_ERROR_WANT_READ ? WANTS_READ : WANTS_WRITE;
        return -EAGAIN;
    }
    if (code == SSL_ERROR_ZERO_RETURN) {
        return 0;
    }
    if (code == SSL_ERROR_SYSCALL && cause != 0) {
        return -cause;
    }
    unsigned long last = ERR_peek_last_error();
    bool cut = code == SSL_ERROR_SYSCALL ||
               ERR_GET_REASON(last) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    return cut ? -ECONNABORTED : -EPROTO;
}

static void forget_errors(void)
{
    ERR_clear_error();
    errno = 0;
}

int tls_handshake(struct tls *tls, struct error *error)
{
    forget_errors();
    int n = SSL_do_handshake(tls->ssl);
    if (n == 1) {
        return 0;
    }
    int rc = explain(tls, n);
    if (rc == -EAGAIN) {
        return rc;
    }
    rc = rc == 0 ? -ECONNABORTED : rc;
    if (rc == -EPROTO) {
        tell_handshake(tls, error);
    } else {
        error_set(error, "TLS: %s",
                  rc == -ECONNABORTED ? "the peer closed during the handshake" : strerror(-rc));
    }
    forget_errors();
    return rc;
}

ssize_t tls_read(struct tls *tls, void *ret_bytes, size_t size)
{
    size_t done = 0;
    forget_errors();
    int n = SSL_read_ex(tls->ssl, ret_bytes, size, &done);
    return n == 1 ? (ssize_t)done : explain(tls, n);
}

ssize_t tls_write(struct tls *tls, const void *bytes, size_t size)
{
    size_t done = 0;
    forget_errors();
    int n = SSL_write_ex(tls->ssl, bytes, size, &done);
    if (n == 1) {
        return (ssize_t)done;
    }
    int rc = explain(tls, n);
    return rc == 0 ? -EPIPE : rc;
}

int tls_close_write(struct tls *tls)
{
    forget_errors();
    int n = SSL_shutdown(tls->ssl);
    return n >= 0 ? 0 : explain(tls, n);
}

int tls_peek(struct tls *tls)
{
    char byte;
    size_t done = 0;
    forget_errors();
    int n = SSL_peek_ex(tls->ssl, &byte, 1, &done);
    if (n == 1) {
        return 1;
    }
    int rc = explain(tls, n);
    return rc == -EAGAIN ? 0 : rc == 0 ? -EPIPE : rc;
}

int tls_wants(const struct tls *tls)
{
    return tls->wants;
}

bool tls_has_pending(const struct tls *tls)
{
    return SSL_has_pending(tls->ssl) == 1;
}
