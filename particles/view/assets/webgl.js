// Tokens and their trails on a graphics processor. All frames are uploaded once; a picture moves pointers into them.

const POINTS = `#version 300 es
in ivec4 here; in ivec4 next; in vec4 color;
uniform vec3 scale, shift; uniform mat3 rows; uniform vec4 frame; uniform float part, size, side, cue;
out vec4 tint; out float visible;
void main() {
  bool gone = here.x == -32768;
  vec3 from = vec3(here.xyz), to = vec3(next.x == -32768 ? here.xyz : next.xyz);
  vec3 v = (mix(from, to, part) * scale + shift) * rows;
  gl_Position = gone || side * v.z < 0.0 ? vec4(2.0, 2.0, 2.0, 1.0) : vec4((v.xy + frame.zw) * frame.xy, 0.0, 1.0);
  float front = smoothstep(-0.12, 0.06, v.z);
  visible = side == 0.0 ? mix(1.0, 0.55 + 0.45 * (v.z * 0.5 + 0.5), cue) : mix(0.2, 1.0, front);
  gl_PointSize = size * (side == 0.0 ? 1.0 + 0.25 * cue * v.z : mix(0.72, 1.0, front));
  tint = color;
}`;
const DISC = `#version 300 es
precision highp float;
in vec4 tint; in float visible; uniform vec3 paper; uniform float size; out vec4 ink;
void main() {
  float r = length(gl_PointCoord - 0.5) * 2.0, soft = 2.5 / size;
  float cover = 1.0 - smoothstep(1.0 - soft, 1.0, r);
  float rim = size > 9.0 ? smoothstep(0.74 - soft, 0.74, r) * 0.7 : 0.0;
  ink = vec4(mix(tint.rgb, paper, rim), 1.0) * cover * visible;
}`;
const TRAILS = `#version 300 es
in ivec4 here; in ivec4 next; in vec4 color;
uniform vec3 scale, shift; uniform mat3 rows; uniform vec4 frame; uniform float part, size, side, cue, strength;
uniform vec2 screen;
out vec4 tint;
void main() {
  bool gone = here.x == -32768 || next.x == -32768;
  vec3 from = vec3(here.xyz), to = mix(from, vec3(next.xyz), part);
  vec3 a = (from * scale + shift) * rows, b = (to * scale + shift) * rows;
  vec2 p = (a.xy + frame.zw) * frame.xy, q = (b.xy + frame.zw) * frame.xy;
  vec2 way = (q - p) * screen;
  float far = length(way);
  vec2 along = far > 1e-4 ? way / far : vec2(1.0, 0.0), across = vec2(-along.y, along.x);
  vec2 corner = vec2(float(gl_VertexID & 1), float(gl_VertexID >> 1) * 2.0 - 1.0);
  vec2 at = mix(p, q, corner.x) + across * corner.y * 0.5 * size / screen;
  float z = mix(a.z, b.z, corner.x);
  gl_Position = gone || far < 1e-3 ? vec4(2.0, 2.0, 2.0, 1.0) : vec4(at, 0.0, 1.0);
  float visible = side == 0.0 ? mix(1.0, 0.6 + 0.4 * z, cue) : mix(0.16, 1.0, smoothstep(-0.12, 0.06, z));
  tint = vec4(color.rgb, 1.0) * strength * visible;
}`;
const FLAT = `#version 300 es
precision highp float;
in vec4 tint; out vec4 ink;
void main() { ink = tint; }`;

/** A program and where its uniforms are; one that it does not use is undefined, which WebGL passes over. */
function program(gl, vertex, fragment) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  ["here", "next", "color"].forEach((name, k) => gl.bindAttribLocation(made, k, name));
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made) ?? "no program");
  const found = { made };
  for (let k = 0; k < gl.getProgramParameter(made, gl.ACTIVE_UNIFORMS); k++) {
    const { name } = gl.getActiveUniform(made, k);
    found[name] = gl.getUniformLocation(made, name);
  }
  return found;
}

export class GlRenderer {
  /** Draws into a canvas, with smooth edges where there are not too many; null if there is no WebGL 2. */
  static on(canvas, smooth) {
    const gl = canvas.getContext("webgl2", { alpha: true, antialias: smooth, premultipliedAlpha: true });
    return gl ? new GlRenderer(canvas, gl) : null;
  }

  constructor(canvas, gl) {
    this.kind = "webgl";
    [this.canvas, this.gl] = [canvas, gl];
    [this.points, this.trails] = [program(gl, POINTS, DISC), program(gl, TRAILS, FLAT)];
    [this.places, this.tints] = [gl.createBuffer(), gl.createBuffer()];
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    [0, 1, 2].forEach((k) => gl.enableVertexAttribArray(k));
  }

  load(geometry) {
    this.geometry = geometry;
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.places);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, geometry.data, this.gl.STATIC_DRAW);
  }

  paint(colors) {
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.tints);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, colors, this.gl.DYNAMIC_DRAW);
  }

  draw({ position, view, units, size, ratio, dot, trail, paper }) {
    const { gl, geometry } = this;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const frame = [2 * units[0] / size.width, 2 * units[1] / size.height, view.pan[0], view.pan[1]];
    const common = (shader, side) => {
      gl.useProgram(shader.made);
      gl.uniform3fv(shader.scale, geometry.scale);
      gl.uniform3fv(shader.shift, geometry.shift);
      gl.uniformMatrix3fv(shader.rows, false, view.rows);
      gl.uniform4fv(shader.frame, frame);
      gl.uniform1f(shader.side, side);
      gl.uniform1f(shader.cue, geometry.turns && !geometry.hides ? 1 : 0);
    };
    const last = geometry.frames - 1;
    const f = Math.min(Math.floor(position), last);
    const part = position - f;
    if (trail > 0) {
      common(this.trails, geometry.hides ? 1 : 0);
      gl.uniform2f(this.trails.screen, this.canvas.width / 2, this.canvas.height / 2);
      gl.uniform1f(this.trails.size, Math.max(0.16 * dot, 1.1) * ratio);
      for (let k = Math.max(0, f - trail); k <= f; k++) {
        const [from, to] = [k, Math.min(k + 1, last)];
        if (from === to || (k === f && part === 0)) continue;
        gl.uniform1f(this.trails.part, k === f ? part : 1);
        gl.uniform1f(this.trails.strength, 0.08 + 0.47 * (1 - (position - k) / (trail + 1)) ** 1.3);
        this.point(from, to, 1);
        gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, geometry.count);
      }
    }
    for (const side of geometry.hides ? [-1, 1] : [0]) {
      common(this.points, side);
      gl.uniform1f(this.points.part, part);
      gl.uniform1f(this.points.size, dot * ratio);
      gl.uniform3fv(this.points.paper, paper.map((v) => v / 255));
      this.point(f, Math.min(f + 1, last), 0);
      gl.drawArrays(gl.POINTS, 0, geometry.count);
    }
  }

  /** Sets where a frame and the next are read from. */
  point(from, to, divisor) {
    const { gl, geometry } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.places);
    gl.vertexAttribIPointer(0, 4, gl.SHORT, 8, 8 * from * geometry.count);
    gl.vertexAttribIPointer(1, 4, gl.SHORT, 8, 8 * to * geometry.count);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.tints);
    gl.vertexAttribPointer(2, 4, gl.UNSIGNED_BYTE, true, 4, 0);
    [0, 1, 2].forEach((k) => gl.vertexAttribDivisor(k, divisor));
  }
}
