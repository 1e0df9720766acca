# The image of `make image`, file for file, for where there is a container engine.
FROM node:24-bookworm AS build
WORKDIR /src
COPY . .
RUN make image
# The layers of the archive, one over the other, are the image's root.
RUN mkdir /archive /root-of-image \
 && tar -xf dist/terway-controlplane-image.tar -C /archive \
 && for layer in $(node -p "JSON.parse(fs.readFileSync('/archive/manifest.json')).flatMap(({ Layers }) => Layers).join(' ')"); do \
      tar -xpf "/archive/$layer" -C /root-of-image; \
    done

FROM scratch
COPY --from=build /root-of-image/ /
ENV PATH=/usr/local/bin:/bin
WORKDIR /
