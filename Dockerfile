# The bridge alone: a static binary, the CA certificates and an empty /data, no
# shell.
#
#   docker build -t smtp-bridge .
#   docker run --read-only --volume /data --network container:app smtp-bridge
#
# Its SMTP listens on loopback until a configuration says otherwise, for the
# applications that share its network, as in a pod.

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /out/bridge ./cmd/bridge && mkdir /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/bridge /bridge
COPY --from=build --chown=65532:65532 /out/data /data

# Large mails are spooled here: a disk, never a tmpfs, which would be memory.
VOLUME /data
WORKDIR /data

# As a number, so that Kubernetes can tell that it is not root.
USER 65532:65532

# For a limit of 64 MiB; what Go does not manage, and the health check, need the
# rest.
ENV GOMEMLIMIT=44MiB

# SMTP, the providers' webhooks, and the admin API, which never is public.
EXPOSE 2525 8080 9090

HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/bridge", "health"]
ENTRYPOINT ["/bridge"]
CMD ["serve"]
